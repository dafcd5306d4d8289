"""The whole life cycle of one model on a year of flights, told step by step: `everloop demo flights`.

Everything here goes through the public Python package; the command that does the same is shown with each step.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import date, datetime, timedelta
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
from definitions import data as checks
from definitions import features as views
from definitions.training import FEATURES, schedule
from replay import Traffic, midnight

import everloop as ev
from everloop.engine.executors import open_executor

TRAIN = "definitions.training:train"
FIRST_QUARTER = ["2013-01", "2013-02", "2013-03"]
SERVED_FROM = "2013-04"
ARRIVING = Path("arriving")
"""Where the airport's files come in, a month each."""
CELSIUS = {"temp": "(temp - 32) / 1.8"}


class Story:
    """What the steps hand on to each other. `tell` is the narrator: it prints steps and keeps what was seen."""

    def __init__(self, tell, fast: bool) -> None:
        self.tell = tell
        self.fast = fast
        self.ws = ev.workspace()
        self.beside = ThreadPoolExecutor(1)
        self.judged = {}
        self.server = None
        self.interrupted = None
        self.rebuilding = None
        self.rebuilt = ""
        self.traffic = None
        self.told_alerts: set[str] = set()
        self.answers: dict[str, dict[str, str]] = {}

    def run(self) -> None:
        """All steps, in order."""
        try:
            self.months_arrive()
            self.features_know_no_future()
            self.three_recipes()
            self.gates()
            self.serving()
            self.the_year_goes_by()
            self.bad_candidates()
            self.killed_and_reproduced()
            self.eight_questions()
        finally:
            self.beside.shutdown(wait=True, cancel_futures=True)
            if self.server is not None:
                self.server.result().stop()

    # 1

    def months_arrive(self) -> None:
        what = """Flights from New York come month by month. Each month is appended as a new version of a dataset; what was there
        is not stored again. A contract says which checks every version must pass: February comes from a careless export, and its
        bad rows are put aside, by name."""
        command = (
            "everloop data contract bind flights --checks definitions/data.py && "
            "everloop data add arriving/2013-02.parquet --name flights --append"
        )
        with self.tell.step("Months arrive", what, command) as step:
            coming = Coming("5" if self.fast else "12")
            data = self.ws.data
            bound = [data.bind(suite) for suite in (checks.airports, checks.weather, checks.flights)]
            promised = ", ".join(f"{each.pattern} ({len(each.suite.checks)} checks)" for each in bound)
            step.saw(f"under contract: {promised}")
            data.add(coming.file("airports"), "airports")
            weather = data.add(coming.file("weather"), "weather")
            wind = ev.data(weather.quarantine).to_arrow()
            step.saw(
                f"weather: {weather.rows:,} hours; {weather.quarantined_rows} set aside: a wind of {wind['wind_speed'][0].as_py():,.0f} mph"
            )
            profile = data.profile(weather.reference)
            holes = max(profile.columns, key=lambda each: each.missing)
            step.saw(
                f"profile: {len(profile.columns)} columns; {holes.name} is missing in {holes.missing:.0%}; "
                "everloop data datasheet weather"
            )
            for name in FIRST_QUARTER:
                coming.file(name)
                self._arrives(name, step)
            coming.to_the_end()

    def _arrives(self, name: str, step) -> None:
        added = self._add(name)
        came = pq.read_metadata(ARRIVING / f"{name}.parquet").num_rows
        said = f"{name}: {added.reference}, {came - added.quarantined_rows:,} new rows in {added.new_bytes / 1e6:.1f} MB"
        if added.quarantined_rows:
            failed = ", ".join(
                f"{each.name} ({each.failed_rows})" for each in added.report.checks if not each.passed
            )
            said += f"; {added.quarantined_rows} rows to {added.quarantine}: {failed}"
        step.saw(said)

    def _add(self, month: str):
        file, message = ARRIVING / f"{month}.parquet", f"flights of {month}"
        return self.ws.data.add(file, "flights", message=message, append=True)

    # 2

    def features_know_no_future(self) -> None:
        what = """Weather as it was known before the scheduled departure, and how late flights were lately, counting only those that
        had landed. The same definitions serve training and predictions."""
        command = (
            "everloop features apply && everloop features history --in february.parquet --out known.parquet "
            "--time sched_dep --feature weather --feature airport_recent"
        )
        with self.tell.step("Features that know no future", what, command) as step:
            features = self.ws.features
            applied = features.apply(
                [
                    views.weather,
                    views.airport_recent,
                    views.carrier_recent,
                    views.route_recent,
                    views.departures,
                ]
            )
            step.saw(f"{len(applied)} feature views: " + ", ".join(each.reference for each in applied))
            february = ev.data("flights@v2").to_arrow(filter=pc.field("month") == 2)
            rows = schedule(february)
            then = features.history(rows, FEATURES, time="sched_dep", at={"flights": 2})
            later = features.history(rows, FEATURES, time="sched_dep", at={"flights": 3})
            differ = sum(not then[name].equals(later[name]) for name in then.column_names)
            values = len(then.column_names) * then.num_rows
            step.saw(
                f"computed for {then.num_rows:,} flights of February before and after March arrived: {differ} of {values:,} values differ"
            )

    # 3

    def three_recipes(self) -> None:
        what = """One pipeline, three recipes: a baseline that knows carrier, airport and hour, a logistic regression, gradient
        boosting. Trained on January to mid-March, judged on the three weeks after. Then run again."""
        command = f"everloop run {TRAIN} --param recipe=boosting"
        with self.tell.step("Three recipes", what, command) as step:
            self.trained = {}
            # One set of worker processes for the three runs: each worker loads scikit-learn once.
            with closing(open_executor("local")) as workers:
                for recipe in ("baseline", "boosting", "logistic"):
                    run = self.ws.pipelines.run(TRAIN, {"recipe": recipe}, executor=workers)
                    self._tell_training(recipe, run, step)
                    # What is trained goes through its gates while the next one is: the baseline first, as the others must beat it.
                    if recipe != "logistic":
                        self.judged[recipe] = self.beside.submit(self._register, recipe)
            again = self.ws.pipelines.run(TRAIN, {"recipe": "boosting"})
            executed = sum(each.status == "executed" for each in again.steps)
            step.saw(
                f"run again: {executed} steps executed, {len(again.steps)} from the cache, {again.seconds:.2f} s"
            )

    def _register(self, recipe: str):
        name = "delay-baseline" if recipe == "baseline" else "delay"
        version = self.ws.registry.register(self.trained[recipe], name)
        return self.ws.registry.promote(version.reference)

    def _tell_training(self, recipe: str, run, step) -> None:
        self.trained[recipe] = run_of(run, "judge")
        seen = self.ws.tracking.run(self.trained[recipe]).metrics
        executed = sum(each.status == "executed" for each in run.steps)
        step.saw(
            f"{recipe:9} log loss {seen['log_loss']:.4f}  AUC {seen['auc']:.4f}  ({executed} of {len(run.steps)} steps executed)"
        )

    # 4

    def gates(self) -> None:
        what = """A model version knows its code, data, parameters and environment. To answer passengers it must pass gates: better
        than the baseline on the same flights, no airport or carrier much worse off, answers in a fresh process, can be rebuilt."""
        command = "everloop models register RUN --name delay && everloop models promote model:delay@v1 --to champion"
        with self.tell.step("Gates", what, command) as step:
            passed = self.judged["baseline"].result()
            step.saw(
                f"{passed.reference} may be compared with: {'; '.join(each.reason for each in passed.gates)}"
            )
            for recipe in ("boosting", "logistic"):
                promotion = self.judged[recipe].result() if recipe in self.judged else self._register(recipe)
                verdict = "is champion" if promotion.allowed else "is refused"
                step.saw(f"{promotion.reference} ({recipe}) {verdict}")
                for gate in promotion.gates:
                    if recipe == "boosting" or not gate.passed:
                        step.saw(f"  {'passed' if gate.passed else 'FAILED'}  {gate.name}: {gate.reason}")
                # The champion may answer from now on: its server begins while the other one is judged.
                if recipe == "boosting":
                    self.server = self.beside.submit(self._begin_serving)
                    self.rebuilt = next(gate.reason for gate in promotion.gates if "reproduces" in gate.name)
            card = self.ws.registry.write_card(
                "model:delay@v1",
                intended_use="Telling passengers before departure whether to expect more than 15 minutes of delay.",
                limits="Flights from EWR, JFK and LGA in 2013; no cancellations.",
            )
            step.saw(
                f"model card written: {len(card.sections)} sections, {len(card.gaps)} gaps are named, none filled in"
            )

    # 5

    def serving(self) -> None:
        what = """The champion answers over HTTP from a process of its own. Every answer has an identifier and is logged with the
        features as the model was fed them. While it starts, April's flights come."""
        with self.tell.step("Serving", what, "everloop serve delay --port 8000") as step:
            self.ws.loop.apply()
            self.traffic = Traffic()
            self._month_arrives(SERVED_FROM)
            url = self.traffic.url = self.server.result().url
            step.saw(f"endpoint delay answers at {url}")

    def _begin_serving(self):
        self.ws.serving.deploy("delay", "model:delay@champion")
        return self.ws.serving.start("delay")

    # 6 and 7

    def the_year_goes_by(self) -> None:
        months = [f"2013-{number:02d}" for number in range(4, 5 if self.fast else 12)]
        what = f"""{"April" if self.fast else "April to November"}, day by day: each flight is asked about before its departure, labels come when flights land.
        Monitors look at each day. A policy trains again when predictions get worse; the candidate must prove itself on live traffic.
        Beside this, a long training begins, which will be killed."""
        command = (
            "everloop actuals add delay landed.parquet; everloop loop tick; everloop rollout advance delay"
        )
        with self.tell.step("The year goes by", what, command) as step:
            self.interrupted = self.beside.submit(self._interrupted_training)
            for name in months:
                if name != SERVED_FROM:
                    self._month_arrives(name)
                for day in self.traffic.days(name):
                    step.pulse(
                        f"{day}  {self.traffic.predictions:,} predictions, {self.traffic.failed} failed requests"
                    )
                    self._day(day, step)
                self.ws.serving.collect("delay")
                self._tell_month(name, step)
            step.saw(
                f"{self.traffic.requests} requests for {self.traffic.predictions:,} predictions, {self.traffic.failed} failed"
            )

    def _month_arrives(self, name: str) -> None:
        self.traffic.month_arrives(self._add(name).reference, name)

    def _day(self, day: date, step) -> None:
        """One day: flights are asked about, others land, and in the evening everything that is due is done."""
        self.traffic.fly(day)
        self._evening(day, step)

    def _evening(self, day: date, step) -> None:
        evening = midnight(day + timedelta(days=1))
        self.ws.monitoring.add_actuals("delay", self.traffic.landed(day), received=evening)
        if not self._advance(evening, step):
            self.ws.monitoring.evaluate("delay", evening)
        self._tell_alerts(evening, step)
        for done in self.ws.loop.tick(evening):
            step.saw(f"{evening:%d %B}: retrained because of alert:{done.alert[:8]}; {done.message}")
            for gate in done.gates:
                step.saw(f"    {'passed' if gate.passed else 'FAILED'}  {gate.name}: {gate.reason}")

    def _advance(self, evening: datetime, step) -> bool:
        """Let an open rollout look at what has come and decide; tell when it moved. Whether there is one."""
        before = self.ws.rollout.current("delay")
        if before is None or before.ended is not None:
            return False
        after = self.ws.rollout.advance("delay", evening)
        if (after.state, after.step, after.verdict) != (before.state, before.step, before.verdict):
            step.saw(f"{evening:%d %B}: {after.candidate} in {after.state}, {after.verdict}: {after.reason}")
        return True

    def _tell_alerts(self, evening: datetime, step) -> None:
        for alert in self.ws.monitoring.alerts("delay", "firing"):
            if alert.alert_id not in self.told_alerts:
                self.told_alerts.add(alert.alert_id)
                report = alert.report
                step.saw(
                    f"{evening:%d %B}: ALERT {report.what}; since {report.since:%d %B}; {report.how_much}"
                )

    def _tell_month(self, name: str, step) -> None:
        health = self.ws.monitoring.health("delay")
        seen = health.realised
        words = f"{name}: log loss {seen['loss']['value']:.3f}, excess {seen['excess']['value']:+.3f}, AUC within a day {seen['auc']['value']:.3f}"
        noted = sorted({each["column"] for each in health.drift if each["noted"]})
        step.saw(words + (f"; noted, not alarmed: {', '.join(noted)} drifted" if noted else ""))

    # 8

    def bad_candidates(self) -> None:
        what = """Two candidates that must not get through. The first is a sound model whose serving code feeds it Celsius where it
        was trained on Fahrenheit. The second is plainly worse, and somebody forces it into canary."""
        command = "everloop rollout start delay model:delay@v1 && everloop rollback delay"
        with self.tell.step("Bad candidates", what, command) as step:
            if (
                not self.fast
            ):  # in the quick story the champion is still the one that its gates have built again
                champion = self.ws.registry.version("model:delay@champion").reference
                self.rebuilding = self.beside.submit(self.ws.pipelines.reproduce, champion)
            name = "2013-05" if self.fast else "2013-12"
            self._month_arrives(name)
            first, *days = self.traffic.days(name)
            self._make_room(midnight(first), step)
            self._celsius(first, step)
            self._worse(days, step)
            step.saw(f"{self.traffic.failed} of {self.traffic.requests} requests failed in all")
            self.ws.serving.collect("delay")
            self.beside.submit(self.server.result().stop)

    def _celsius(self, day: date, step) -> None:
        """The champion again, but what serves it converts a temperature that needed no conversion."""
        rollout = self.ws.rollout
        begun = rollout.start("delay", self._champion(), transform=CELSIUS, time=midnight(day))
        self.traffic.fly(day)
        ended = rollout.advance("delay", midnight(day + timedelta(days=1)))
        known = self.ws.monitoring.labels("delay", begun.started, ended.ended or midnight(day)).num_rows
        step.saw(f"Celsius: {ended.state} with {known} labels known: {ended.reason}")
        self._evening(day, step)

    def _worse(self, days: list[date], step) -> None:
        rollout = self.ws.rollout
        begun = rollout.start("delay", "model:delay-baseline@v1", strategy="canary", time=midnight(days[0]))
        for day in days:
            self._day(day, step)
            begun = rollout.rollout(begun.reference)
            if begun.ended is not None:
                break
        else:
            begun = rollout.abort(
                "delay", because="the month is over", time=midnight(days[-1] + timedelta(days=1))
            )
        took = f"; the switch took {begun.seconds * 1000:.0f} ms" if begun.seconds else ""
        step.saw(f"baseline in canary: {begun.state} after {(begun.ended - begun.started).days} days{took}")

    def _make_room(self, moment: datetime, step) -> None:
        """A rollout that has not been decided by now makes way."""
        current = self.ws.rollout.current("delay")
        if current is not None and current.ended is None:
            self.ws.rollout.abort("delay", because="other candidates are to be tried", time=moment)
            step.saw(
                f"{current.candidate} was on '{current.verdict}' in {current.state} and makes way: {current.reason}"
            )

    def _champion(self) -> str:
        arms = self.ws.serving.endpoint("delay").arms
        return next(arm.model for arm in arms if arm.mode == "live")

    # 9

    def killed_and_reproduced(self) -> None:
        what = """While the year went by, a training was killed with kill -9 and went on from its last checkpoint, to the same bits.
        And the champion was built again, in an empty folder, from the code, data and parameters in the ledger."""
        command = "everloop resume RUN && everloop reproduce model:delay@champion"
        with self.tell.step("Killed, resumed, reproduced", what, command) as step:
            killed, at, said, resumed, straight = self.interrupted.result()
            step.saw(f"run:{killed[:12]} killed with kill -9 after {at} of 12 epochs; runs list says: {said}")
            same = resumed.tags["weights"] == straight.tags["weights"]
            step.saw(
                f"resumed and uninterrupted weights: {'the same bits' if same else 'DIFFER'} ({resumed.tags['weights'][:16]})"
            )
            if self.rebuilding is None:
                step.saw(f"model:delay@v1, before it was promoted: {self.rebuilt}")
                return
            rebuilt = self.rebuilding.result()
            step.saw(
                f"{rebuilt.reference} rebuilt in {rebuilt.seconds:.1f} s (trained in {rebuilt.original_seconds:.1f} s): grade '{rebuilt.grade}'"
            )

    def _interrupted_training(self):
        """The slow training, killed and resumed, and once more without a break: the killed run, how far it was and what became of
        it, the run that went on, the one that was not disturbed."""
        killed, at = self._killed_training()
        said = self.ws.tracking.run(killed).status
        uninterrupted = subprocess.Popen([sys.executable, "slow_training.py"])
        everloop("resume", f"run:{killed}")
        if uninterrupted.wait() != 0:
            raise SystemExit("the slow training failed")
        others = [run for run in ev.runs(experiment="slow training") if run.run_id != killed]
        resumed = next(run for run in others if run.resumed_from == killed)
        return killed, at, said, resumed, next(run for run in others if run.resumed_from is None)

    def _killed_training(self) -> tuple[str, int]:
        """Start the slow training, kill it when it is half-way, and give its run and how far it was."""
        process = subprocess.Popen(
            [sys.executable, "slow_training.py"], env=os.environ | {"SECONDS_AN_EPOCH": "0.1"}
        )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.poll() is None:
            for run in ev.runs(experiment="slow training") if self._has_experiment() else []:
                done = len(self.ws.tracking.checkpoints(run.run_id))
                if done >= 4:
                    os.kill(process.pid, signal.SIGKILL)
                    process.wait()
                    return run.run_id, len(self.ws.tracking.checkpoints(run.run_id))
            time.sleep(0.05)
        raise SystemExit("the slow training ended before it could be killed")

    def _has_experiment(self) -> bool:
        return any(each.name == "slow training" for each in self.ws.tracking.experiments())

    # 10

    def eight_questions(self) -> None:
        with self.tell.step(
            "Eight questions",
            "What an engineer asks, answered from this workspace.",
            "everloop why model:delay@champion",
        ) as step:
            ws = self.ws
            packed = self.beside.submit(
                ws.registry.package, "model:delay@champion", "folder", out="package", verify=True
            )
            why, best = ws.provenance.why("model:delay@champion"), ws.registry.best("delay")
            health = ws.monitoring.health("delay")
            data = [each for each in why.data if each.startswith("data:flights@")]
            self._answer(
                "why",
                "What did I do to get this result?",
                f"{why.reference}: {why.parameters.get('recipe', '')} on {data[-1]} and weather, {len(why.environment.packages)} packages, "
                f"code kept; {sum(why.predictions.values()):,} predictions made with it",
                f"everloop why {why.reference}",
            )
            self._answer(
                "best",
                "Which version is the good one?",
                f"{best.reference}: {best.rule}",
                "everloop best delay",
            )
            resumed = next(run for run in ev.runs(experiment="slow training") if run.resumed_from)
            self._answer(
                "resume",
                "It was training when the machine went off.",
                f"run:{resumed.resumed_from[:12]} went on as run:{resumed.run_id[:12]}, to the same bits",
                f"everloop resume run:{resumed.resumed_from[:12]}",
            )
            package = packed.result()
            self._answer(
                "package",
                "It runs here; will it run there?",
                f"{package.bytes:,} bytes; {package.parity.rows} rows in a fresh process are off by {package.parity.max_abs:g}",
                "everloop package model:delay@champion --target folder --verify",
            )
            loss, alerts = health.realised["loss"], len(health.alerts)
            self._answer(
                "health",
                "How is it doing in production?",
                f"log loss {loss['value']:.3f} [{loss['low']:.3f}, {loss['high']:.3f}] over {loss['days']:.0f} days; {alerts or 'no'} alert{'' if alerts == 1 else 's'} open",
                "everloop health delay",
            )
            retrained = next((each for each in ws.loop.retrainings("delay") if each.candidate), None)
            said = (
                f"{retrained.candidate}: {retrained.because}; {retrained.message}"
                if retrained
                else "no alert asked for it in the months told"
            )
            self._answer("retrain", "It is getting worse.", said, "everloop retrain delay")
            done = ws.rollout.rollouts("delay")
            said = "; ".join(f"{each.candidate} {each.state}" for each in reversed(done))
            self._answer(
                "rollout",
                "There is a new model; how do we switch?",
                said,
                "everloop rollout start delay model:delay@v1",
            )
            self._answer(
                "demo",
                "How do we implement all this?",
                f"read {Path.cwd().name}/definitions and story.py",
                "everloop demo flights",
            )
            for answer in self.answers.values():
                step.saw(f"{answer['question']}  {answer['answer']}")

    def _answer(self, key: str, question: str, answer: str, command: str) -> None:
        self.answers[key] = {"question": question, "answer": answer, "command": command}


class Coming:
    """The files that the airport sends, each from the moment it is whole."""

    def __init__(self, last_month: str) -> None:
        command = [sys.executable, "months.py", ARRIVING, last_month]
        self._sender = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def file(self, name: str) -> Path:
        """Wait for the next file, which must be this one."""
        if self._sender.stdout.readline().strip() != name:
            raise SystemExit(f"the file '{name}' did not come")
        return ARRIVING / f"{name}.parquet"

    def to_the_end(self) -> None:
        """Wait until all has come."""
        self._sender.communicate()
        if self._sender.returncode != 0:
            raise SystemExit("the flights did not come")


def run_of(run, step: str) -> str:
    """The tracking run in which a step of a pipeline was computed."""
    return next(each.run for each in run.steps if each.name == step)


def everloop(*arguments: str) -> None:
    """Run a command of Everloop as a person would."""
    subprocess.run([sys.executable, "-m", "everloop", *arguments], check=True, capture_output=True)
