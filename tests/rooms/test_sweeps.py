"""Sweeps: the same plan asks the same questions, trials are runs, hopeless ones stop, a killed sweep goes on, a tie is a tie."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import everloop as ev
from everloop.cli.main import main
from everloop.domain.sweeps import (
    Choice,
    Objective,
    Real,
    Repeat,
    SweepPlan,
    Trial,
    Whole,
    checked_plan,
    parse_space,
)
from everloop.errors import Conflict, InvalidInput, NotFound
from everloop.pipelines.sweeps.asking import ask, hopeless, importance
from everloop.pipelines.sweeps.scoring import best_of, front_of, perhaps_on_front, tied_with
from everloop.pipelines.sweeps.spaces import read_space

CODE = """
import os
import time
import everloop as ev

@ev.step
def load(rows: int) -> list:
    return list(range(rows))

@ev.step
def fit(data: list, rate: float, depth: int, seed: int, slow: float, held: str) -> dict:
    loss = (rate - 0.1) ** 2 + 0.01 * (depth - 4) ** 2 + seed / 1000
    for epoch in range(10):
        ev.log_metric("loss", loss + 1 / (epoch + 1), step=epoch)
        time.sleep(slow)
    ev.log_metric("logged", -loss)
    return {"loss": loss, "depth": depth}

@ev.pipeline
def train(rate: float = 0.1, depth: int = 3, seed: int = 0, rows: int = 10, slow: float = 0.0, held: str = ""):
    return fit(load(rows), rate, depth, seed, slow, held)
"""
WAITS = """
        while depth == 4 and os.path.exists(held):
            time.sleep(0.05)"""
SPACE = {"rate": Real(1e-3, 1.0, log=True), "depth": Whole(2, 9)}
LOSS = Objective("loss")


@pytest.fixture
def project(workspace):
    workspace.project.mkdir(parents=True, exist_ok=True)
    (workspace.project / "train.py").write_text(CODE)
    return workspace


def sweep(project, trials=4, objective=LOSS, space=SPACE, **more):
    return project.pipelines.sweep(
        "train.py:train", space, trials=trials, objective=objective, executor="inline", **more
    )


# What happens


def test_trials_are_runs_of_the_pipeline_below_the_sweep(project):
    told = []
    found = sweep(project, trials=5, told=told.append)
    assert [each.status for each in found.trials] == ["finished"] * 5
    assert told == found.trials
    assert found.best == min(found.trials, key=lambda each: each.means[0]).number
    children = project.tracking.describe(found.run).children
    assert {run for each in found.trials for run in each.runs} == set(children)
    one = found.trials[0]
    params = project.pipelines.pipeline_run(one.runs[0]).params
    assert {"rate": params["rate"], "depth": params["depth"]} == one.params
    # What the trials have in common was computed once.
    loads = [
        step.status
        for each in found.trials
        for step in project.pipelines.steps(each.runs[0])
        if step.name == "load"
    ]
    assert loads == ["executed", *["cached"] * 4]
    shown = project.tracking.run(found.run)
    assert shown.status == "finished"
    assert shown.metrics["best.loss"] == found.score.value
    assert project.pipelines.sweep_result(found.run) == found


def test_the_same_seed_makes_the_same_trials_and_another_seed_others(project):
    first, again, other = (sweep(project, seed=seed).trials for seed in (7, 7, 8))
    assert [each.params for each in first] == [each.params for each in again]
    assert [each.params for each in first] != [each.params for each in other]


def test_a_metric_that_a_step_logged_counts_where_the_pipeline_returns_none(project):
    found = sweep(project, objective=Objective("logged", "maximize"))
    assert found.score.value == max(each.means[0] for each in found.trials)


def test_an_unknown_metric_is_refused_with_the_nearest(project):
    with pytest.raises(InvalidInput, match="neither returns nor logs 'los'") as refused:
        sweep(project, objective="los")
    assert "loss" in refused.value.hint
    assert project.pipelines.sweeps()[0].status == "failed"


def test_a_grid_ends_when_it_is_through(project):
    space = {"depth": Whole(3, 5), "rate": Choice((0.1, 0.2))}
    found = sweep(project, trials=50, space=space, sampler="grid")
    assert {(each.params["depth"], each.params["rate"]) for each in found.trials} == {
        (depth, rate) for depth in (3, 4, 5) for rate in (0.1, 0.2)
    }
    assert found.trial(found.best).params == {"depth": 4, "rate": 0.1}


@pytest.mark.parametrize("sampler", ["random", "cmaes"])
def test_every_sampler_stays_in_the_space(project, sampler):
    for each in sweep(project, sampler=sampler).trials:
        assert 1e-3 <= each.params["rate"] <= 1.0
        assert each.params["depth"] in range(2, 10)


def test_several_objectives_have_a_front(project):
    found = sweep(project, trials=6, objective=[LOSS, Objective("depth", "maximize")])
    assert found.front
    assert found.front == front_of(found.trials, found.objectives)
    assert (found.best, found.score, found.tied) == (None, None, None)
    with pytest.raises(NotFound, match="several objectives have no best") as refused:
        found.trial(found.best)
    assert str(found.front[0]) in refused.value.hint
    assert project.tracking.run(found.run).metrics["front"] == len(found.front)


def test_a_front_of_repeated_trials_says_what_may_belong_to_it_too(project, capsys, monkeypatch):
    monkeypatch.setenv("EVERLOOP_WORKSPACE", str(project.project))
    code = CODE.replace(
        '"depth": depth}', '"depth": depth, "size": abs(depth - 6) + seed % 2 * (depth == 7)}'
    )
    (project.project / "train.py").write_text(code)
    space = project.project / "space.toml"
    space.write_text(
        'sampler = "grid"\nrepeat = {seed = [0, 1, 2]}\n[space]\ndepth = [4, 6, 7, 30]\n'
        '[[objective]]\nmetric = "loss"\n[[objective]]\nmetric = "size"\n'
    )
    arguments = [
        "sweep",
        "train.py:train",
        "--space",
        str(space),
        "--executor",
        "inline",
    ]  # a grid needs no --trials
    assert main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["best"], found["front"], len(found["trials"])) == (None, [0, 1], 4)
    assert found["scores"][0][0]["low"] < found["scores"][0][0]["value"] < found["scores"][0][0]["high"]
    assert found["tied"] == []
    assert main(arguments) == 0
    said = capsys.readouterr().out
    assert "2 trials on the front of loss and size" in said
    assert "best" not in said


def test_repeats_give_an_interval_and_name_the_ties(project):
    space = {"depth": Choice((4, 5, 9))}
    found = sweep(project, trials=3, space=space, sampler="grid", repeat=Repeat("seed", (0, 1, 2)))
    assert [len(each.runs) for each in found.trials] == [3, 3, 3]
    assert found.trial(found.best).params == {"depth": 4}
    assert found.score.low < found.score.value < found.score.high
    folds = sweep(
        project, trials=3, space=space, sampler="grid", repeat=Repeat("seed", (0, 1, 2), folds=True)
    )
    assert folds.score.value == found.score.value
    half, wider = found.score.high - found.score.value, folds.score.high - folds.score.value
    assert wider / half == pytest.approx((5 / 2) ** 0.5)  # (1/3 + 1/2) / (1/3), Nadeau and Bengio
    assert found.tied == [], "each seed adds the same to all: in pairs the difference is sure"


def test_a_failing_trial_is_recorded_and_the_sweep_goes_on(project):
    (project.project / "train.py").write_text(
        CODE.replace("    loss = (rate", "    assert depth != 4, 'no four'\n    loss = (rate")
    )
    found = sweep(project, trials=3, space={"depth": Choice((3, 4, 5))}, sampler="grid")
    assert [each.status for each in found.trials] == ["finished", "failed", "finished"]
    assert "no four" in found.trials[1].error


def test_a_hopeless_trial_is_stopped_and_costs_nothing_after(project):
    slowed = "time.sleep(slow if depth == 90 else 0)"
    code = CODE.replace("time.sleep(slow)", slowed).replace("depth: int", "depth: float")
    (project.project / "train.py").write_text(code)
    space = {"depth": Choice((4, 4.0001, 4.0002, 4.0003, 4.0004, 90))}
    found = project.pipelines.sweep(
        "train.py:train",
        space,
        trials=6,
        objective="loss",
        sampler="grid",
        pruner="median",
        params={"slow": 0.7},
    )
    *good, bad = found.trials
    assert [each.status for each in good] == ["finished"] * 5
    assert bad.status == "pruned"
    assert 0 < len(bad.reports) < 10
    assert project.tracking.run(bad.runs[0]).status == "interrupted"
    assert found.best != bad.number


def test_a_sweep_that_is_cancelled_stops_its_trial_and_goes_on_later(project):
    (project.project / "train.py").write_text(CODE.replace("time.sleep(slow)", WAITS))
    held = project.project / "held"
    held.touch()
    seen = threading.Event()

    def cancel(sweep):
        def once_at_work():
            while not any(
                each.status == "running" and each.number == 1 for each in project.pipelines.trials(sweep)
            ):
                seen.wait(0.05)
            project.pipelines.cancel(sweep)

        threading.Thread(target=once_at_work, daemon=True).start()

    space = {"depth": Choice((3, 4, 5))}
    options = {"objective": "loss", "sampler": "grid", "executor": "local", "params": {"held": str(held)}}
    found = project.pipelines.sweep("train.py:train", space, trials=3, on_begin=cancel, **options)
    assert found.status == "interrupted"
    assert [each.status for each in found.trials] == ["finished", "interrupted"]
    assert project.tracking.run(found.trials[1].runs[0]).status == "interrupted"
    assert "cancelled by" in project.pipelines.asked_to_stop(found.run)
    with pytest.raises(Conflict, match="there is nothing to stop"):
        project.pipelines.cancel(found.run)
    held.unlink()
    again = project.pipelines.resume_sweep(found.run, executor="inline")
    assert (again.status, [each.status for each in again.trials]) == ("finished", ["finished"] * 3)


def test_no_trial_is_begun_when_the_time_is_over(project):
    (project.project / "space.toml").write_text(
        "budget = '30min'\n[space]\ndepth = [3, 4]\n[objective]\nmetric = 'loss'\n"
    )
    assert read_space(project.project / "space.toml").budget == 1800.0
    short = sweep(project, trials=3, budget=1e-9)
    assert (short.status, short.trials) == ("finished", [])
    assert project.tracking.run(short.run).tags["everloop.sweep.budget"] == "1e-09 s"
    assert len(project.pipelines.resume_sweep(short.run, executor="inline", budget=3600.0).trials) == 3
    with pytest.raises(InvalidInput, match="a budget of 0 seconds is no time"):
        sweep(project, budget=0)


def test_more_trials_of_a_finished_sweep_are_those_of_a_longer_one(project):
    short = sweep(project, trials=3)
    longer = project.pipelines.resume_sweep(short.run, trials=5, executor="inline")
    assert project.tracking.run(longer.run).resumed_from == short.run
    assert longer.trials[:3] == short.trials
    whole = sweep(project, trials=5)
    assert [each.params for each in longer.trials] == [each.params for each in whole.trials]


def test_a_killed_sweep_goes_on_with_the_trials_of_one_that_was_not(tmp_path):
    (tmp_path / "train.py").write_text(CODE)
    (tmp_path / "space.toml").write_text(
        "[space]\nrate = {low = 0.001, high = 1.0, log = true}\n[objective]\nmetric = 'loss'\n"
    )
    environment = os.environ | {"EVERLOOP_WORKSPACE": str(tmp_path), "EVERLOOP_SYSTEM_METRICS": "off"}
    command = [
        sys.executable,
        "-m",
        "everloop",
        "sweep",
        "train.py:train",
        "--space",
        "space.toml",
        "--trials",
        "4",
    ]
    command += ["--param", "slow=0.05", "--executor", "inline"]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE
    )
    for line in process.stderr:
        if line.startswith(b"trial 1"):
            break
    time.sleep(0.2)  # into the next one
    process.send_signal(signal.SIGKILL)
    process.communicate()
    with ev.connect(tmp_path) as here:
        (killed,) = here.pipelines.sweeps()
        assert here.pipelines.sweep_result(killed.run).status == "killed"
    done = subprocess.run(
        [sys.executable, "-m", "everloop", "resume", killed.run, "--json"],
        cwd=tmp_path, env=environment, capture_output=True, check=True,
    )  # fmt: skip
    with ev.connect(tmp_path) as here:
        resumed = here.pipelines.sweep_result(json.loads(done.stdout)["run"])
        straight = here.pipelines.sweep(
            "train.py:train", {"rate": Real(0.001, 1.0, log=True)}, trials=4, objective="loss",
            params={"slow": 0.05}, executor="inline",
        )  # fmt: skip
    assert resumed.status == "finished"
    assert [(each.params, each.values) for each in resumed.trials] == [
        (each.params, each.values) for each in straight.trials
    ]


def test_the_command_says_the_best(project, capsys, monkeypatch):
    monkeypatch.setenv("EVERLOOP_WORKSPACE", str(project.project))
    space = project.project / "space.toml"
    space.write_text('sampler = "grid"\n[space]\ndepth = [3, 4]\n[objective]\nmetric = "loss"\n')
    arguments = ["sweep", "train.py:train", "--space", str(space), "--trials", "5", "--executor", "inline"]
    assert main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["best"]["params"] == {"depth": 4}
    assert len(found["trials"]) == 2
    assert main([*arguments, "--folds", "seed=3", "--json"]) == 0
    assert [len(each["runs"]) for each in json.loads(capsys.readouterr().out)["trials"]] == [3, 3]
    assert main([*arguments, "--repeat", "seed=0,1"]) == 0
    assert "surely better than every other" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("[space", "is not TOML"),
        ("[objective]\nmetric='x'", r"has no \[space\]"),
        ("[space]\nrate = 3", "rate: a range or a list"),
        ("[space]\nrate = {low = 1}", "low and high are needed"),
        ("[space]\nrate = {low = 1, hihg = 2}", "'hihg' is not known"),
        ("[space]\nrate = {low = 2.0, high = 1.0}", "goes from 2 to 1"),
        ("[space]\nrate = {low = 0.0, high = 1.0, log = true}", "no logarithm"),
        ("[space]\nrate = [1, 1]", "each once"),
        ("[space]\nrate = [1]\n[objective]\nmetrik = 'x'", r"\[objective\]"),
        ("sampel = 3\n[space]\nrate = [1]", "'sampel' is not known"),
        ("sampler = 'tpa'\n[space]\nrate = [1]", "no sampler 'tpa'"),
        ("[space]\nratte = [1]", "no parameter 'ratte'"),
        ("sampler = 'grid'\n[space]\nrate = {low = 0.1, high = 1.0}", "needs a step"),
        ("repeat = 3\n[space]\nrate = [1]", "repeat names one parameter"),
        ("folds = {fold = [0, 1]}\n[space]\nrate = [1]", "folds names one parameter"),
        ("folds = {seed = 1}\n[space]\nrate = [1]", "two folds at least"),
        ("folds = {seed = 3}\nrepeat = {seed = [1, 2]}\n[space]\nrate = [1]", "over seeds or over folds"),
    ],
)
def test_a_wrong_space_is_one_sentence(project, capsys, monkeypatch, text, wrong):
    monkeypatch.setenv("EVERLOOP_WORKSPACE", str(project.project))
    space = project.project / "space.toml"
    space.write_text(text if "objective" in text else f"{text}\n[objective]\nmetric = 'loss'\n")
    assert (
        main(["sweep", "train.py:train", "--space", str(space), "--trials", "3", "--executor", "inline"]) == 2
    )
    said = capsys.readouterr().err
    assert re.search(wrong, said), said
    assert "Traceback" not in said
    assert project.pipelines.sweeps() == [], "nothing was begun"


# The rules

numbers = st.floats(-5, 5).map(lambda value: round(value, 1))


def trials_of(values: list[tuple[float, ...]]) -> list[Trial]:
    return [Trial(n, {}, "finished", tuple((v,) for v in each)) for n, each in enumerate(values)]


@given(
    st.lists(st.tuples(numbers, numbers), min_size=1, max_size=12), st.sampled_from(["minimize", "maximize"])
)
def test_the_front_is_what_nothing_dominates(values, direction):
    objectives = [Objective("a", direction), Objective("b")]
    sign = 1 if direction == "minimize" else -1
    kept = []
    for number, (a, b) in enumerate(values):
        beaten = any(sign * c <= sign * a and d <= b and (sign * c < sign * a or d < b) for c, d in values)
        if not beaten:
            kept.append(number)
    assert front_of(trials_of(values), objectives) == kept
    best = best_of(trials_of(values), objectives[0])
    assert sign * best.means[0] == min(sign * a for a, _ in values)


@given(st.lists(st.lists(numbers, min_size=3, max_size=3), min_size=2, max_size=5))
def test_whoever_equals_the_best_is_tied_with_it(values):
    trials = [Trial(n, {}, "finished", (tuple(each),)) for n, each in enumerate(values)]
    best = best_of(trials, LOSS)
    twin = Trial(99, {}, "finished", best.values)
    assert 99 in tied_with(best, [*trials, twin], LOSS)


def test_who_is_beaten_by_a_hair_may_belong_to_the_front():
    goals = (LOSS, Objective("gain", "maximize"))
    even = ((5.0, 5.0, 5.0),)
    front = Trial(0, {}, "finished", ((1.0, 1.1, 1.2), *even))
    hair = Trial(1, {}, "finished", ((1.1, 1.0, 1.3), *even))
    clear = Trial(2, {}, "finished", ((2.0, 2.1, 2.2), *even))
    worse = Trial(3, {}, "finished", ((1.0, 1.1, 1.2), (4.0, 4.0, 4.0)))
    other = Trial(4, {}, "finished", ((9.0, 9.1, 9.2), (6.0, 6.0, 6.0)))
    trials = [front, hair, clear, worse, other]
    assert front_of(trials, goals) == [0, 4]
    assert perhaps_on_front(trials, goals) == [1]
    once = [msgspec.structs.replace(each, values=tuple(v[:1] for v in each.values)) for each in trials]
    assert perhaps_on_front(once, goals) is None


def test_what_is_suggested_depends_on_what_is_known_alone():
    plan = SweepPlan("f.py:p", SPACE, (LOSS,), seed=3)
    known: list[Trial] = []
    for number in range(15):
        params = ask(plan, known, number)
        assert params == ask(
            msgspec.json.decode(msgspec.json.encode(plan), type=SweepPlan), list(known), number
        )
        known.append(Trial(number, params, "finished", (((params["rate"] - 0.1) ** 2,),)))
    shares = importance(plan, known)
    assert shares["rate"] > shares["depth"]
    assert sum(shares.values()) == pytest.approx(1)


def test_reports_decide_who_is_hopeless():
    plan = SweepPlan("f.py:p", SPACE, (LOSS,), pruner="median")
    params = {"rate": 0.1, "depth": 3}
    others = [
        Trial(n, params, "finished", ((0.1,),), tuple((s, 1.0 - s / 10) for s in range(5))) for n in range(5)
    ]
    bad, good = (Trial(9, params, "running", reports=((0, v), (1, v))) for v in (5.0, 0.5))
    assert hopeless(plan, others, bad)
    assert not hopeless(plan, others, good)
    assert not hopeless(plan, others, msgspec.structs.replace(bad, reports=()))


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"params": {"rate": 1}}, "both fixed and searched"),
        ({"repeat": Repeat("rate", (1, 2))}, "repeated and given"),
        ({"repeat": Repeat("seed", (1, 1))}, "two different values"),
        ({"objectives": ()}, "nothing says what is looked for"),
        ({"objectives": (LOSS, LOSS), "pruner": "median"}, "cannot be stopped early"),
        ({"sampler": "nsga2"}, "for several objectives"),
        ({"sampler": "cmaes", "space": {"depth": Choice((1, 2))}}, "needs a parameter that is a number"),
        ({"objectives": (Objective("loss", "down"),)}, "no direction 'down'"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(change, wrong):
    plan = SweepPlan("f.py:p", SPACE, (LOSS,))
    with pytest.raises(InvalidInput, match=wrong):
        checked_plan(msgspec.structs.replace(plan, **change))


def test_a_space_in_python_and_in_toml_is_the_same():
    text = "[space]\nrate = {low = 0.001, high = 1.0, log = true}\ndepth = {low = 2, high = 9}\nkind = ['a', 'b']\n"
    space, _, _ = parse_space(text)
    assert space == {
        "rate": ev.space.real(0.001, 1.0, log=True),
        "depth": ev.space.whole(2, 9),
        "kind": ev.space.choice("a", "b"),
    }
