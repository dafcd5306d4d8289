"""The loop room."""

import os
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from everloop.domain import policies as rules
from everloop.domain.alerts import CALLING, Alert
from everloop.domain.canonical import digest_of
from everloop.domain.events import Event
from everloop.domain.monitors import Family, Monitor, Outcome
from everloop.domain.policies import Cause, Policy, PolicyDecision, Situation
from everloop.domain.references import Kind, Reference
from everloop.domain.rollouts import TERMINAL, RolloutPlan, Verdict
from everloop.domain.times import require_zone
from everloop.domain.triggers import PipelineTrigger
from everloop.engine.forks import programs
from everloop.engine.here import environment
from everloop.errors import Conflict, NotFound, nearest
from everloop.governance.audit import Governance
from everloop.governance.identity import Permission, current_actor
from everloop.governance.operations import operation
from everloop.governance.rooms import Room
from everloop.loop.records import IN_FLIGHT, IN_VAIN, STARTED, Applied, Retraining, Status
from everloop.loop.records import Outcome as Done
from everloop.loop.triggers.room import Triggers, in_project
from everloop.monitoring.monitoring import Monitoring
from everloop.pipelines.pipelines import Pipelines
from everloop.registry.registry import Registry
from everloop.rollout.rollout import Rollouts
from everloop.store.schema.loop import policies as policies_table
from everloop.store.schema.loop import retrainings

if TYPE_CHECKING:
    from everloop.engine.contract import Executor
    from everloop.store.ledger import Reader, Transaction

CONSUMER = "loop"
HANDS = "by hand"
"""The policy named by a retraining that a person asked for."""
WORKER_MINUTES = 240


class Loop(Triggers, Room):
    """Policies act on what monitoring says, triggers on times and events. `tick` and `tick_triggers` do what is
    due; nothing happens between ticks."""

    name = "loop"

    # Declaring

    def apply(self, spec: str = "") -> Applied:
        """Record what definitions modules declare about watching, rolling out, retraining and starting pipelines:
        one module, or all of the project's.

        Monitors, outcomes, rollout plans, policies and triggers take effect at once; applying the same again
        changes nothing.
        """
        from everloop.governance.definitions import declared, load

        specs = [spec] if spec else list(self.context.settings.definitions)
        modules = [load(each, self.context.project) for each in specs]
        monitors = [each for module in modules for each in declared(module, Monitor)]
        outcomes = [each for module in modules for each in declared(module, Outcome)]
        plans = [each for module in modules for each in declared(module, RolloutPlan)]
        found = [each for module in modules for each in declared(module, Policy)]
        triggers = [
            in_project(each, self.context.project)
            for module in modules
            for each in declared(module, PipelineTrigger)
        ]
        governance = self.context.room(Governance)
        for one in triggers:
            governance.record_definition("trigger", one.name, msgspec.to_builtins(one), ", ".join(specs))
        for kind, named in (("monitor", monitors), ("policy", found)):
            for each in named:
                name = f"{each.endpoint}/{each.name}"
                governance.record_definition(kind, name, msgspec.to_builtins(each), ", ".join(specs))
        if monitors or outcomes:
            self.context.room(Monitoring).declare(monitors, outcomes)
        if plans:
            self.context.room(Rollouts).declare(plans)
        if found:
            self.declare(found)
        if triggers:
            self.declare_triggers(triggers)
        return Applied(
            tuple(each.name for each in monitors),
            tuple(each.endpoint for each in outcomes),
            tuple(each.endpoint for each in plans),
            tuple(each.name for each in found),
            tuple(one.name for one in triggers),
        )

    @operation(Permission.WRITE)
    def declare(self, policies: list[Policy]) -> list[Policy]:
        """Set policies by name; declaring the same again changes nothing."""
        with self.change() as tx:
            for each in policies:
                declaration = msgspec.to_builtins(each)
                known = tx.scalar(
                    sa.select(policies_table.c.declaration).where(policies_table.c.name == each.name)
                )
                if known is not None and digest_of(known) == digest_of(declaration):
                    continue
                row = {
                    "name": each.name,
                    "endpoint": each.endpoint,
                    "model": each.model,
                    "declaration": declaration,
                }
                tx.put(policies_table, row | {"declared": tx.now})
                tx.event("loop.policy_declared", f"endpoint:{each.endpoint}", declaration)
        return self.policies()

    @operation(Permission.WRITE)
    def withdraw(self, policy: str) -> None:
        """Take a policy away. What it began goes on."""
        with self.change() as tx:
            _policy(tx, policy)
            tx.execute(sa.delete(policies_table).where(policies_table.c.name == policy))
            tx.event("loop.policy_withdrawn", f"policy:{policy}", {})

    @operation(Permission.READ)
    def policies(self, model: str = "") -> list[Policy]:
        """The declared policies, of one model or of all."""
        with self.look() as look:
            return _policies(look, model)

    # Turning

    def tick(self, now: datetime, *, in_process: bool = False) -> list[Retraining]:
        """Do what is due at `now`: decide on new causes, and carry out what was decided, each in a worker
        process of its own (or, for a test, in this one). Returns the retrainings that were carried out."""
        moment = require_zone(now, "the time")
        return [self._carried_out(each, moment, in_process) for each in self.due(now=moment)]

    def retrain(
        self,
        model: str,
        *,
        because: str = "",
        now: datetime | None = None,
        policy: str = "",
        in_process: bool = False,
    ) -> Retraining:
        """Train a model again now, gate the candidate and begin its rollout: what its policy would do,
        without waiting for a cause.

        because: an alert, which is then named as the cause. policy: which one says how, where the model has
        several.
        """
        moment = require_zone(now, "the time") if now else self.context.clock()
        alert = self.context.room(Monitoring).alert(because) if because else None
        asked = self.request(
            model=Reference.parse(model, Kind.MODEL).name,
            now=moment,
            policy=policy,
            alert=alert.alert_id if alert else "",
        )
        return self._carried_out(asked, moment, in_process)

    def perform(self, retraining: str, now: datetime, *, executor: "Executor | None" = None) -> Retraining:
        """Carry out a retraining in this process: user code runs here. executor: what runs the pipeline's steps, else the one
        that the settings name."""
        from everloop.loop.retraining import retrain

        wanted = self.claim(retraining=retraining)
        policy = next(
            (each for each in self.policies(model=wanted.model) if each.name == wanted.policy), None
        )
        if policy is None:
            return self.report(
                retraining=retraining, outcome=Done(Status.DROPPED, "its policy was withdrawn"), now=now
            )
        outcome = retrain(self.context, policy, wanted, now, executor)
        return self.report(retraining=retraining, outcome=outcome, now=now)

    # What the ledger keeps

    @operation(Permission.WRITE)
    def due(self, now: datetime) -> list[Retraining]:
        """Decide on causes that are new since the last tick, ask again about those that wait, and return what
        is to be done."""

        def handle(tx: "Transaction", event: Event) -> None:
            alert = self._alert(event.subject.removeprefix("alert:"))
            for policy in _policies(tx, ""):
                listens = any(trigger.alert == alert.family for trigger in policy.on)
                if listens and policy.endpoint == alert.endpoint:
                    cause = Cause(
                        f"alert:{alert.alert_id}",
                        alert.report.what,
                        alert.fired or alert.opened,
                        alert.alert_id,
                        alert.report.since,
                    )
                    self._decide(tx, policy, cause, now)

        while self.context.ledger.consume(
            CONSUMER, handle, actor=current_actor().user, actions=["alert.firing"]
        ):
            pass
        causes = [*self._aged(now), *self._still_firing()]
        with self.change() as tx:
            for policy, cause in causes:
                self._decide(tx, policy, cause, now)
            for row in tx.all(sa.select(retrainings).where(retrainings.c.status == str(Status.WAITING))):
                self._ask_again(tx, _retraining(row), now)
            rows = tx.all(
                sa.select(retrainings)
                .where(retrainings.c.status == str(Status.QUEUED))
                .order_by(retrainings.c.requested)
            )
            return [_retraining(row) for row in rows]

    @operation(Permission.WRITE)
    def request(self, model: str, now: datetime, policy: str = "", alert: str = "") -> Retraining:
        """Queue a retraining by hand. Raises NotFound when no policy says how the model is trained, Conflict
        while another one runs."""
        with self.change() as tx:
            known = _policies(tx, "")
            fitting = [each for each in known if each.model == model and policy in {"", each.name}]
            if not fitting:
                hint = (
                    nearest(model, {each.model for each in known})
                    or "declare one: ev.policy(…), then: everloop monitors apply"
                )
                raise NotFound(f"no policy says how '{model}' is trained", hint=hint)
            chosen = fitting[0]
            running = _in_flight(tx, model)
            if running:
                raise Conflict(f"one at a time: {running}", hint="wait for it, or end it")
            cause = Cause(f"{HANDS}:{self.context.ids()}", "asked for by hand", now)
            if alert:
                told = self._alert(alert)
                cause = msgspec.structs.replace(
                    cause, what=told.report.what, alert=told.alert_id, onset=told.report.since
                )
            asked = self._queue(tx, chosen, cause, now, Status.QUEUED, HANDS)
            tx.event(
                "loop.retraining_requested",
                f"model:{model}",
                {"retraining": asked.id, "alert": alert, "params": asked.params},
            )
            return asked

    @operation(Permission.WRITE)
    def claim(self, retraining: str) -> Retraining:
        """Begin a queued retraining. Raises Conflict when it was begun already."""
        with self.change() as tx:
            row = tx.first(sa.select(retrainings).where(retrainings.c.id == retraining).with_for_update())
            if row is None:
                raise NotFound(f"there is no retraining {retraining}")
            if row.status != Status.QUEUED:
                raise Conflict(
                    f"retraining {retraining} is {row.status}", hint="ask for another one: everloop retrain"
                )
            tx.execute(
                sa.update(retrainings)
                .where(retrainings.c.id == retraining)
                .values(status=str(Status.RUNNING))
            )
            tx.event(
                "loop.retraining_started",
                f"model:{row.model}",
                {"retraining": retraining, "params": row.params},
            )
            return msgspec.structs.replace(_retraining(row), status=Status.RUNNING)

    @operation(Permission.WRITE)
    def report(self, retraining: str, outcome: Done, now: datetime) -> Retraining:
        """Say what came of a retraining."""
        with self.change() as tx:
            row = tx.first(sa.select(retrainings).where(retrainings.c.id == retraining))
            if row is None:
                raise NotFound(f"there is no retraining {retraining}")
            values = {
                "status": str(outcome.status),
                "ended": now,
                "run": outcome.run,
                "candidate": outcome.candidate,
                "rollout": outcome.rollout,
                "gates": msgspec.to_builtins(outcome.gates),
                "message": outcome.message,
            }
            tx.execute(sa.update(retrainings).where(retrainings.c.id == retraining).values(**values))
            if row.alert:
                for made in (outcome.run, outcome.rollout):
                    if made:
                        tx.edge(f"alert:{row.alert}", made, "triggered")
            facts = {name: value for name, value in values.items() if name not in {"ended", "gates"}}
            gates = [
                {"name": gate.name, "passed": gate.passed, "reason": gate.reason} for gate in outcome.gates
            ]
            tx.event(
                f"loop.retraining_{outcome.status}",
                f"model:{row.model}",
                {"retraining": retraining, **facts, "gates": gates},
            )
            return _retraining(row, **values)

    @operation(Permission.READ)
    def retrainings(self, model: str = "", limit: int = 100) -> list[Retraining]:
        """Retrainings, newest first; of one model or of all."""
        query = sa.select(retrainings)
        if model:
            query = query.where(retrainings.c.model == model)
        with self.look() as look:
            rows = look.all(
                query.order_by(retrainings.c.requested.desc(), retrainings.c.id.desc()).limit(limit)
            )
        return [self._followed(_retraining(row)) for row in rows]

    # Within

    def _followed(self, asked: Retraining) -> Retraining:
        """A retraining together with what its rollout came to: that is written down there, and only there."""
        if asked.status is not Status.ROLLING_OUT or asked.rollout is None:
            return asked
        rollout = self.context.room(Rollouts).rollout(ref=asked.rollout)
        if rollout.state not in TERMINAL:
            return asked
        status = Status(str(rollout.state))
        return msgspec.structs.replace(asked, status=status, ended=rollout.ended, message=rollout.reason)

    def _carried_out(self, asked: Retraining, now: datetime, in_process: bool) -> Retraining:
        return self.perform(asked.id, now) if in_process else self._in_worker(asked, now)

    def _in_worker(self, asked: Retraining, now: datetime) -> Retraining:
        pipelines = {each.name: each.pipeline for each in self.policies(model=asked.model)}
        program = programs.Program(
            "everloop.client.retraining",
            [self.context.location, asked.id, now.isoformat()],
            environment(os.environ),
            self.context.project,
            purpose="to train",
            packages=self.context.room(Pipelines).packages_reached(source=pipelines.get(asked.policy, "")),
        )
        try:
            ended = programs.run(program, timeout=60 * WORKER_MINUTES)
            if ended.code == 0:
                return msgspec.json.decode(ended.out.splitlines()[-1], type=Retraining)
            printed = ended.err.decode(errors="replace").strip().splitlines()
            told = (printed or [f"exit code {ended.code}"])[-1]
        except TimeoutError:
            told = f"it did not end within {WORKER_MINUTES} minutes"
        outcome = Done(Status.FAILED, f"the training process failed: {told}")
        return self.report(retraining=asked.id, outcome=outcome, now=now)

    def _alert(self, identifier: str) -> Alert:
        return self.context.room(Monitoring).alert(ref=f"alert:{identifier}")

    def _aged(self, now: datetime) -> list[tuple[Policy, Cause]]:
        """Champions that are older than a policy allows."""
        found = []
        for policy in self.policies():
            limit = max((trigger.model_age_days for trigger in policy.on), default=0.0)
            if not limit:
                continue
            changes = self.context.room(Registry).alias_history(policy.model)
            newest = next((each for each in changes if each.alias == policy.alias and each.version), None)
            if newest is None or now - newest.time < timedelta(days=limit):
                continue
            what = f"model:{policy.model}@v{newest.version} is older than {limit:g} days"
            found.append((policy, Cause(f"age:{policy.model}@v{newest.version}", what, now)))
        return found

    def _still_firing(self) -> list[tuple[Policy, Cause]]:
        """Alerts that fire on although they were acted on: the candidate was refused, failed, or its rollout
        ended without it. Each attempt is a cause of its own; the cooldown keeps them apart."""
        found = []
        alerts = [
            alert for alert in self.context.room(Monitoring).alerts(state="open") if alert.state in CALLING
        ]
        for policy in self.policies() if alerts else []:
            families = {trigger.alert for trigger in policy.on}
            for alert in alerts:
                if alert.endpoint != policy.endpoint or alert.family not in families:
                    continue
                tried = [
                    each
                    for each in self.retrainings(policy.model)
                    if each.policy == policy.name and each.alert == alert.alert_id
                ]
                if not tried or not all(each.status in IN_VAIN for each in tried):
                    continue
                key = f"alert:{alert.alert_id}#{len(tried) + 1}"
                what = f"{alert.report.what} (attempt {len(tried) + 1})"
                found.append((policy, Cause(key, what, alert.updated, alert.alert_id, alert.report.since)))
        return found

    def _decide(self, tx: "Transaction", policy: Policy, cause: Cause, now: datetime) -> None:
        known = sa.and_(retrainings.c.policy == policy.name, retrainings.c.cause == cause.key)
        if tx.first(sa.select(retrainings.c.id).where(known)) is not None:
            return
        decision, seen = self._judge(tx, policy, cause, now)
        status = Status.QUEUED if decision.act else Status.WAITING
        asked = self._queue(
            tx, policy, cause, now, status, policy.name, "" if decision.act else decision.reason
        )
        self._tell(tx, policy, cause, decision, seen, asked)

    def _ask_again(self, tx: "Transaction", waiting: Retraining, now: datetime) -> None:
        """A cause that waits acts once it may; it is dropped when it is gone."""
        policy = next((each for each in _policies(tx, waiting.model) if each.name == waiting.policy), None)
        alert = self._alert(waiting.alert) if waiting.alert else None
        gone = "" if alert is None or alert.state in CALLING else f"the alert is {alert.state}"
        if policy is None or gone:
            reason = gone or "its policy was withdrawn"
            chosen = sa.update(retrainings).where(retrainings.c.id == waiting.id)
            tx.execute(chosen.values(status=str(Status.DROPPED), message=reason, ended=now))
            tx.event(
                "loop.retraining_dropped",
                f"model:{waiting.model}",
                {"retraining": waiting.id, "reason": reason},
            )
            return
        # As long as it is firing it is as new as its last window.
        happened = alert.updated if alert is not None else now
        onset = alert.report.since if alert is not None else None
        cause = Cause(waiting.cause, waiting.because, happened, waiting.alert, onset)
        decision, seen = self._judge(tx, policy, cause, now)
        if not decision.act and decision.reason.partition(":")[0] == waiting.message.partition(":")[0]:
            return
        values: dict[str, Any] = {"message": "" if decision.act else decision.reason}
        if decision.act:
            values |= {
                "status": str(Status.QUEUED),
                "requested": now,
                "params": rules.parameters(policy, cause, now),
            }
        tx.execute(sa.update(retrainings).where(retrainings.c.id == waiting.id).values(**values))
        self._tell(tx, policy, cause, decision, seen, waiting)

    def _judge(
        self, tx: "Transaction", policy: Policy, cause: Cause, now: datetime
    ) -> tuple[PolicyDecision, Situation]:
        rollout = self.context.room(Rollouts).current(endpoint=policy.endpoint)
        flying = _in_flight(tx, policy.model)
        undecided = (
            rollout is not None and rollout.verdict is Verdict.HOLD
        )  # it makes way for a fresher candidate
        if not flying and rollout is not None and rollout.state not in TERMINAL and not undecided:
            flying = f"{rollout.reference} of {rollout.candidate} is in {rollout.state}"
        started = sa.and_(
            retrainings.c.model == policy.model, retrainings.c.status.in_([str(each) for each in STARTED])
        )
        last = tx.scalar(sa.select(sa.func.max(retrainings.c.requested)).where(started))
        open_alerts = self.context.room(Monitoring).alerts(endpoint=policy.endpoint, state="open")
        broken = tuple(
            f"alert:{alert.alert_id} ({alert.report.what})"
            for alert in open_alerts
            if alert.family == Family.INPUTS and alert.state in CALLING
        )
        seen = Situation(now=now, in_flight=flying, last_started=last, broken_inputs=broken)
        return rules.decide(policy, cause, seen), seen

    def _queue(
        self,
        tx: "Transaction",
        policy: Policy,
        cause: Cause,
        now: datetime,
        status: Status,
        by: str,
        message: str = "",
    ) -> Retraining:
        asked = Retraining(
            id=self.context.ids(),
            policy=policy.name,
            cause=cause.key,
            because=cause.what if by != HANDS else f"{HANDS}: {cause.what}",
            alert=cause.alert,
            endpoint=policy.endpoint,
            model=policy.model,
            params=rules.parameters(policy, cause, now),
            status=status,
            requested=now,
            message=message,
        )
        row = {name: getattr(asked, name) for name in asked.__struct_fields__}
        tx.execute(sa.insert(retrainings).values(**row | {"status": str(status), "gates": []}))
        return asked

    def _tell(
        self,
        tx: "Transaction",
        policy: Policy,
        cause: Cause,
        decision: PolicyDecision,
        seen: Situation,
        asked: Retraining,
    ) -> None:
        facts = {
            "policy": policy.name,
            "cause": cause,
            "decision": decision,
            "situation": seen,
            "retraining": asked.id,
        }
        tx.event("loop.acted" if decision.act else "loop.waited", f"model:{policy.model}", facts)


def _policies(look: "Reader", model: str) -> list[Policy]:
    query = sa.select(policies_table.c.declaration).order_by(policies_table.c.name)
    if model:
        query = query.where(policies_table.c.model == model)
    return [msgspec.convert(row.declaration, Policy) for row in look.all(query)]


def _policy(look: "Reader", name: str) -> Policy:
    found = {each.name: each for each in _policies(look, "")}
    if name not in found:
        raise NotFound(
            f"there is no policy '{name}'", hint=nearest(name, found, see="everloop monitors list")
        )
    return found[name]


def _in_flight(look: "Reader", model: str) -> str:
    flying = sa.and_(
        retrainings.c.model == model, retrainings.c.status.in_([str(each) for each in IN_FLIGHT])
    )
    row = look.first(sa.select(retrainings.c.id, retrainings.c.status).where(flying))
    return f"retraining {row.id} is {row.status}" if row is not None else ""


def _retraining(row: Any, **changed: Any) -> Retraining:
    fields = {str(name): value for name, value in row._mapping.items()}
    return msgspec.convert({**fields, **changed}, Retraining)
