"""A workspace with something in every room, made through the public faces of the rooms: what the pages are looked at with."""

from __future__ import annotations

import math
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
from tests.support.streams import FIRST, Fault, FedMonitoring, make_days, reference_table
from tests.support.trained import add_flights, train

import everloop as ev
from everloop.domain import gates as gate
from everloop.domain.monitors import DAY, monitor
from everloop.domain.rollouts import Evidence, decide
from everloop.domain.sweeps import Objective, Repeat
from everloop.workspace.local import LocalWorkspace

NASTY = "<script>alert(1)</script>"
"""A name that must never become anything else."""


def fill(workspace: LocalWorkspace, folder: Path) -> None:
    """Data, runs, a pipeline, models, an endpoint, monitors and alerts."""
    folder.mkdir(parents=True, exist_ok=True)
    add_data(workspace)
    add_wider_pipeline(workspace)
    add_runs(workspace)
    add_pipeline(workspace)
    add_features(workspace)
    add_models(workspace, folder)
    add_predictions(workspace)
    add_monitoring(workspace)


def flights(start: int, rows: int, *, bad: int = 0) -> pa.Table:
    """A month of flights; `bad` rows have a temperature in the wrong unit."""
    rng = np.random.default_rng(start)
    temp = rng.normal(60, 12, rows)
    temp[:bad] = 400.0
    return pa.table(
        {
            "flight": pa.array(range(start, start + rows), pa.int64()),
            "carrier": rng.choice(["AA", "UA", "DL", "B6"], rows).tolist(),
            "origin": rng.choice(["JFK", "LGA", "EWR"], rows).tolist(),
            "temp": temp,
            "delay": pa.array(rng.gamma(1.2, 14, rows) - 8, from_pandas=True),
        }
    )


def add_data(workspace: LocalWorkspace) -> None:
    suite = ev.checks(
        "flights sane",
        dataset="flights",
        checks=[
            ev.check.not_null("carrier"),
            ev.check.in_range("temp", -60, 130, severity="quarantine"),
            ev.check.in_set("origin", ["JFK", "LGA", "EWR"], severity="warn"),
        ],
    )
    for month in range(4):
        table = flights(month * 10_000, 900 + 40 * month, bad=12 if month == 2 else 0)
        workspace.data.add(
            table,
            "flights",
            f"flights of month {month + 1}",
            append=True,
            checks=suite,
            file=f"2013-{month + 1:02d}.parquet",
        )
    workspace.data.add(flights(90_000, 300), "team/weather", NASTY)


def add_runs(workspace: LocalWorkspace) -> None:
    pairs = [(0.06, 0.6), (0.03, 0.4), (0.05, 0.5), (0.05, 0.7), (0.02, 0.2), (0.07, 0.3)]
    for at, (alpha, ratio) in enumerate(pairs):
        with workspace.tracking.start(
            "delay", params={"alpha": alpha, "l1_ratio": ratio, "model": "tree" if at % 2 else "linear"}
        ) as run:
            workspace.data.dataset("flights").to_arrow(columns=["delay"])
            for step in range(60):
                run.log_metric(
                    "loss", 0.7 * math.exp(-step / (12 + 3 * at)) + 0.05 * alpha * (step % 5), step=step
                )
                run.log_metric("val/loss", 0.72 * math.exp(-step / (12 + 2 * at)) + 0.1, step=step)
            run.log_metrics({"rmse": 66.4 + alpha * 10, "r2": 0.42 + ratio / 100, "mae": 53.1 - at / 7})
    with workspace.tracking.start("delay", name=NASTY, params={"alpha": 1}, tags={NASTY[1:7]: NASTY}) as run:
        run.log_text(NASTY, "notes/readme.txt")
        run.log_text("<h1>Report</h1><script>document.title = 'taken over'</script>", "report.html")
        run.log_text(
            '<svg xmlns="http://www.w3.org/2000/svg" width="80" height="80"><circle cx="40" cy="40" r="30"/></svg>',
            "plot.svg",
        )
        run.log_dict({"threshold": 0.15, "name": NASTY}, "settings.json")
        run.log_text(f"name,value\n{NASTY},1\nplain,2\n", "table.csv")
        run.checkpoint({"step": 3}, step=3)
    try:
        with workspace.tracking.start("delay", name="too-deep", params={"alpha": 0.5, "depth": 40}) as run:
            run.log_metric("loss", math.nan)
            raise MemoryError
    except MemoryError:
        pass


def add_models(workspace: LocalWorkspace, folder: Path) -> None:
    data = add_flights(workspace, folder)
    add_flights(workspace, folder, "evaluation", seed=9)
    registry = workspace.registry
    registry.register(train(workspace, data, C=0.05), "delay", description="The first that was good enough.")
    registry.set_alias("delay@v1", "champion", "the first")
    registry.register(train(workspace, data, C=1.0), "delay")
    registry.register(train(workspace, data, flipped=True), "delay")
    registry.write_card("delay@v1")
    gates = gate.gates(
        "delay",
        gate.better_than(),
        gate.provenance_complete(),
        evaluation=gate.evaluation(label="late", data="evaluation", block="day"),
    )
    assert not registry.promote("delay@v3", gates=gates).allowed
    workspace.serving.deploy("delay", "model:delay@v1")
    add_rollout(workspace)
    policy = ev.policy(
        "when it gets worse",
        endpoint="delay",
        model="delay",
        pipeline="train.py:train",
        on=ev.trigger(alert="performance"),
    )
    workspace.loop.declare([policy])
    workspace.loop.request("delay", FIRST + 28 * DAY)


def add_rollout(workspace: LocalWorkspace) -> None:
    """A candidate that gains day by day, from the shadow into the canary; the rules decide, the evidence is made up."""
    rollouts = workspace.rollout
    record = rollouts.start("delay", "delay@v2", time=FIRST)
    for day in range(1, 16):
        evidence = Evidence(
            days_in_stage=float(day),
            days_in_step=float(day),
            parity_applies=False,
            blocks=day,
            rows=600 * day,
            gain=0.012 + 0.002 * math.sin(day),
            gain_low=0.012 - 0.06 / math.sqrt(day),
            gain_high=0.012 + 0.06 / math.sqrt(day),
            e_gain=math.exp(0.22 * day),
            e_harm=math.exp(-0.1 * day),
            requests=60 * day,
        )
        decision = decide(record.plan, record.state, record.step, evidence)
        time = FIRST + day * DAY
        record = rollouts.record_decision(record.rollout_id, record.decisions + 1, decision, time, evidence)


def add_monitoring(workspace: LocalWorkspace) -> None:
    def flipped(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {**columns, "label": 1 - columns["label"], "temp": columns["temp"] + 12}

    days = make_days(3, 30, fault=Fault(24, flipped))
    room = FedMonitoring(workspace, days)
    room.declare(
        [
            monitor("inputs", endpoint="delay", measure="drift"),
            monitor("missing", endpoint="delay", measure="missing"),
            monitor("loss", endpoint="delay", measure="excess_loss"),
            monitor("ranking", endpoint="delay", measure="daily_auc"),
            monitor("latency", endpoint="delay", measure="latency"),
        ]
    )
    room.set_reference("model:delay@v1", reference_table(7))
    for start, (_, labels) in days.items():
        room.add_actuals("delay", labels, received=start + DAY + timedelta(hours=6))
        room.evaluate("delay", start + DAY + timedelta(hours=7))


PIPELINE = """
import everloop as ev

@ev.step
def load(rows: int):
    return list(range(rows))

@ev.step
def fit(rows, strength: float):
    return {"strength": strength, "score": sum(rows) / 100 + strength}

@ev.step
def best(fits):
    return max(fits, key=lambda each: each["score"])

@ev.pipeline
def train(rows: int = 50, strengths: tuple = (0.1, 0.2)):
    values = load(rows)
    return best([fit(values, strength) for strength in strengths])
"""


def add_pipeline(workspace: LocalWorkspace) -> None:
    """Three runs: the first executes everything, the second nothing, the third what a parameter touches."""
    workspace.project.mkdir(parents=True, exist_ok=True)
    (workspace.project / "train.py").write_text(PIPELINE)
    workspace.pipelines.run("train.py:train", {}, executor="inline")
    workspace.pipelines.run("train.py:train", {}, executor="inline")
    workspace.pipelines.run("train.py:train", {"rows": 80}, executor="inline")


WIDER = """
import everloop as ev

@ev.step
def read(rows: int):
    print("reading", rows, "rows")
    return list(range(rows))

@ev.step
def fit(part: int, depth: int):
    ev.active_run().log_metric("loss", 1 / (part + depth))
    return 1 / (part + depth)

@ev.step
def publish(fits, limit: float):
    print("<b>about</b> to publish")
    if max(fits) > limit:
        raise ValueError("worse than the limit")
    return {"loss": max(fits)}

@ev.pipeline
def flow(rows: int = 5, depth: int = 2, limit: float = 9.0):
    return publish(fit.map(read(rows), depth=depth), limit)

@ev.step
def trial(depth: int, kind: str, seed: int):
    return {"loss": (depth - 4) ** 2 + 0.01 * seed, "seconds": depth + (kind == "trees")}

@ev.pipeline
def tune(depth: int = 2, kind: str = "linear", seed: int = 0):
    return trial(depth, kind, seed)
"""


def add_wider_pipeline(workspace: LocalWorkspace) -> None:
    """One with a map, that fails the second time for one of its steps; and two sweeps: one whose trials are repeated, so that its
    winner is a tie of two kinds, and one with two objectives. Before the runs that other tests look for among the newest."""
    workspace.project.mkdir(parents=True, exist_ok=True)
    (workspace.project / "flow.py").write_text(WIDER)
    workspace.pipelines.run("flow.py:flow", {}, executor="inline")
    workspace.pipelines.run("flow.py:flow", {"depth": 3, "limit": 0.1}, executor="inline")
    space = {"depth": ev.space.whole(2, 3), "kind": ev.space.choice("linear", "trees")}
    repeat = Repeat("seed", (0, 1))
    workspace.pipelines.sweep(
        "flow.py:tune",
        space,
        trials=4,
        objective="loss",
        sampler="grid",
        repeat=repeat,
        executor="inline",
    )
    both = [Objective("loss"), Objective("seconds")]
    workspace.pipelines.sweep("flow.py:tune", space, trials=3, objective=both, executor="inline")


def add_features(workspace: LocalWorkspace) -> None:
    view = ev.feature_view(
        "weather",
        entity=ev.entity("airport", keys=["origin"]),
        source="team/weather",
        event_time="to_timestamp(flight)",
        available="52min",
        ttl="3h",
        features=["temp", ev.aggregate("mean", "delay", over="3h", name="mean_delay", min_count=5)],
    )
    workspace.features.apply([view])


def add_predictions(workspace: LocalWorkspace) -> None:
    """A few answers of a real prediction server."""
    import httpx

    with workspace.serving.start("delay") as server:
        body = {
            "columns": {"temp": [60.0, 71.5, 48.0], "wind": [10.0, 3.5, 18.0]},
            "keys": ["UA 1", "AA 2", NASTY],
            "time": "2013-04-30T12:00:00Z",
        }
        httpx.post(f"{server.url}/predict", json=body, timeout=30).raise_for_status()
    workspace.serving.collect("delay")
