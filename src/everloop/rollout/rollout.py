"""The rollout room."""

import time
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from everloop.domain.canonical import digest_of
from everloop.domain.deployments import Arm, Mode, check_transform
from everloop.domain.names import shown
from everloop.domain.references import Kind, Reference
from everloop.domain.rollouts import (
    LIVE,
    TERMINAL,
    Decision,
    Evidence,
    Plan,
    RolloutPlan,
    State,
    Strategy,
    Verdict,
    decide,
    weight_of,
)
from everloop.domain.times import require_zone
from everloop.errors import Conflict, InvalidInput, NotFound, nearest
from everloop.governance.identity import Permission
from everloop.governance.operations import operation
from everloop.governance.rooms import Room
from everloop.monitoring.monitoring import Monitoring
from everloop.registry.registry import Registry
from everloop.rollout.arms import arms_for
from everloop.rollout.looking import evidence_of, read_on
from everloop.rollout.records import Ledgered, Rollback, RolloutDecision, RolloutRecord
from everloop.serving.serving import Serving
from everloop.stats.sequential import ErrorGuard, PairedTrial

if TYPE_CHECKING:
    import sqlalchemy as sa

    from everloop.store.ledger import Reader, Transaction

GATED_BEFORE = "challenger"
"""The alias under which a retraining's candidate passes its gates before it meets traffic."""


class Rollouts(Room):
    """One rollout at a time for each endpoint. `advance` reads what has come since it last looked, and
    decides; a rollout that nobody advances stands still. All times are given or those of the predictions."""

    name = "rollout"

    # Declared plans

    @operation(Permission.WRITE)
    def declare(self, plans: list[RolloutPlan]) -> None:
        """Set how rollouts of endpoints are decided where nothing else is asked for."""
        import sqlalchemy as sa

        from everloop.store.schema.rollout import rollout_plans as table

        with self.change() as tx:
            for each in plans:
                declaration = msgspec.to_builtins(each.plan)
                known = tx.scalar(sa.select(table.c.declaration).where(table.c.endpoint == each.endpoint))
                if known is not None and digest_of(known) == digest_of(declaration):
                    continue
                tx.put(table, {"endpoint": each.endpoint, "declaration": declaration, "declared": tx.now})
                tx.event("rollout.plan_declared", f"endpoint:{each.endpoint}", declaration)

    @operation(Permission.READ)
    def plan(self, endpoint: str) -> Plan:
        """The endpoint's declared plan, or the defaults."""
        import sqlalchemy as sa

        from everloop.store.schema.rollout import rollout_plans as table

        with self.look() as look:
            found = look.scalar(sa.select(table.c.declaration).where(table.c.endpoint == endpoint))
        return msgspec.convert(found, Plan) if found is not None else Plan()

    # Doing

    def start(
        self,
        endpoint: str,
        model: str,
        *,
        strategy: Strategy | str = "",
        plan: RolloutPlan | Plan | None = None,
        time: datetime | None = None,
        alias: str = "champion",
        transform: Mapping[str, str] | None = None,
    ) -> RolloutRecord:
        """Begin to move an endpoint to another model version. It answers nobody before its state allows it.

        strategy: overrides the plan's. transform: what the candidate's serving side makes of columns before
        the model sees them (see `Arm.transform`). Raises Conflict while another rollout of the endpoint goes
        on, or when the model is the champion.
        """
        serving = self.context.room(Serving)
        record = serving.endpoint(endpoint)
        before = _champion(record.arms)
        version = self.context.room(Registry).version(model)
        candidate = version.reference
        check_transform(transform or {}, version.model.signature.names)
        if candidate == before.model and dict(transform or {}) == before.transform:
            raise Conflict(f"{candidate} answers '{endpoint}' already", hint="name another version")
        given = plan.plan if isinstance(plan, RolloutPlan) else plan
        chosen = given or self.plan(endpoint=endpoint)
        if strategy:
            known = [str(each) for each in Strategy]
            if str(strategy) not in known:
                raise InvalidInput(
                    f"there is no strategy {shown(str(strategy))}",
                    hint=nearest(str(strategy), known) or ", ".join(known),
                )
            chosen = msgspec.structs.replace(chosen, strategy=Strategy(str(strategy)))
        moment = require_zone(time, "the time") if time else self.context.clock()
        state = chosen.route[0]
        begun = self.begin(
            record=RolloutRecord(
                rollout_id=self.context.ids(),
                endpoint=endpoint,
                champion=before.model,
                candidate=candidate,
                alias=alias,
                plan=chosen,
                state=state,
                step=0,
                verdict=Verdict.CONTINUE,
                reason="started",
                started=moment,
                entered=moment,
                stepped=moment,
                ended=None,
                seconds=None,
                before=msgspec.structs.replace(before, name="champion", weight=1.0, mode=Mode.LIVE),
                transform=dict(transform or {}),
                progress=Ledgered(
                    PairedTrial.start(clip=chosen.clip, margin=chosen.margin), ErrorGuard.start(), read=moment
                ),
                evidence=Evidence(),
                decisions=0,
                weights=_weights(before.model, candidate, weight_of(chosen, state, 0)),
            )
        )
        try:
            self._switch(begun, state, 0, f"rollout of {candidate} started")
        except Exception:
            self.record_decision(
                rollout=begun.rollout_id,
                number=1,
                decision=Decision(Verdict.STOP, State.ABORTED, 0, 0.0, "its arms could not be deployed"),
                time=moment,
            )
            raise
        return begun

    def advance(self, endpoint: str, until: datetime | None = None) -> RolloutRecord:
        """Read what has come up to `until`, decide, and do what was decided: at most one change of state a
        call.

        A day's losses count once its labels are there (monitoring's rule); parity and errors at once. The
        evidence is kept with every decision, so a restart goes on from it and looking twice changes nothing.
        Raises NotFound without an open rollout.
        """
        moment = require_zone(until, "the time") if until else self.context.clock()
        record = self._open(endpoint)
        self.context.room(Monitoring).evaluate(endpoint, moment)
        progress = read_on(self.context, record, moment)
        evidence = evidence_of(self.context, record, progress, moment)
        decision = decide(record.plan, record.state, record.step, evidence)
        if decision.verdict is Verdict.PROMOTE:
            refused = self._promote_alias(record)
            if refused:
                decision = Decision(
                    Verdict.HOLD,
                    record.state,
                    record.step,
                    weight_of(record.plan, record.state, record.step),
                    refused,
                )
        return self._carry_out(record, decision, evidence, progress, moment)

    def promote(self, endpoint: str, *, because: str = "", time: datetime | None = None) -> RolloutRecord:
        """Let the candidate take over now, by a person's word. The registry's gates are asked; the evidence
        is not."""
        record = self._open(endpoint)
        moment = require_zone(time, "the time") if time else self.context.clock()
        reason = _by_hand("promoted", because)
        refused = self._promote_alias(record, reason)
        if refused:
            raise Conflict(refused, hint="see the gates: everloop models show")
        decision = Decision(Verdict.PROMOTE, State.PROMOTED, record.step, 1.0, reason)
        return self._carry_out(record, decision, record.evidence, record.progress, moment)

    def abort(self, endpoint: str, *, because: str = "", time: datetime | None = None) -> RolloutRecord:
        """End a rollout; the champion answers all requests again."""
        record = self._open(endpoint)
        moment = require_zone(time, "the time") if time else self.context.clock()
        reason = _by_hand("aborted", because)
        decision = Decision(Verdict.STOP, State.ABORTED, record.step, 0.0, reason)
        return self._carry_out(record, decision, record.evidence, record.progress, moment)

    def rollback(self, endpoint: str, *, because: str = "", time: datetime | None = None) -> Rollback:
        """Go back at once: out of an open rollout, else to the model that answered before the last promotion.
        The switch needs no loading. A rollout whose candidate answered nobody yet is aborted: there is nothing to go
        back from. Raises Conflict when there is nothing to go back to."""
        moment = require_zone(time, "the time") if time else self.context.clock()
        opened = self.current(endpoint=endpoint)
        if opened is not None and opened.state not in TERMINAL:
            live = opened.state in LIVE
            out, verdict = (State.ROLLED_BACK, Verdict.ROLLBACK) if live else (State.ABORTED, Verdict.STOP)
            reason = _by_hand("rolled back" if live else "aborted", because)
            decision = Decision(verdict, out, opened.step, 0.0, reason)
            done = self._carry_out(opened, decision, opened.evidence, opened.progress, moment)
            seconds = done.seconds or 0.0
            return Rollback(endpoint, done.champion, done.candidate, seconds, done.reference, live)
        if opened is None or opened.state is not State.PROMOTED:
            raise Conflict(f"'{endpoint}' has no model to go back to", hint="see: everloop rollout status")
        reason = _by_hand("rolled back", because)
        seconds = self._switch(opened, State.ROLLED_BACK, 0, reason)
        self.record_decision(
            rollout=opened.rollout_id,
            number=opened.decisions + 1,
            decision=Decision(Verdict.ROLLBACK, State.ROLLED_BACK, opened.step, 0.0, reason),
            time=moment,
            seconds=seconds,
        )
        self.context.room(Registry).set_alias(opened.champion, opened.alias, reason)
        return Rollback(endpoint, opened.champion, opened.candidate, seconds, opened.reference)

    # Knowing

    @operation(Permission.READ)
    def current(self, endpoint: str) -> RolloutRecord | None:
        """The endpoint's newest rollout, open or ended; None when it never had one."""
        with self.look() as look:
            return _newest(look, endpoint)

    @operation(Permission.READ)
    def status(self, endpoint: str) -> RolloutRecord:
        """The endpoint's newest rollout. Raises NotFound when it never had one."""
        with self.look() as look:
            found = _newest(look, endpoint)
        if found is None:
            raise NotFound(
                f"'{endpoint}' never had a rollout", hint="begin one: everloop rollout start ENDPOINT MODEL"
            )
        return found

    @operation(Permission.READ)
    def rollout(self, ref: str) -> RolloutRecord:
        """One rollout, by its reference, its identifier or a unique prefix of it."""
        import sqlalchemy as sa

        from everloop.store.schema.rollout import rollouts as table

        reference = Reference.parse(ref, Kind.ROLLOUT)
        with self.look() as look:
            rows = look.all(sa.select(table).where(table.c.rollout_id.startswith(reference.name)).limit(2))
        if len(rows) != 1:
            what = "there is no rollout" if not rows else "more than one rollout begins with"
            raise NotFound(f"{what} {reference.name}", hint="see: everloop rollout status ENDPOINT")
        return _record(rows[0])

    @operation(Permission.READ)
    def rollouts(self, endpoint: str = "", limit: int = 100) -> list[RolloutRecord]:
        """Rollouts, newest first."""
        import sqlalchemy as sa

        from everloop.store.schema.rollout import rollouts as table

        query = sa.select(table)
        if endpoint:
            query = query.where(table.c.endpoint == endpoint)
        with self.look() as look:
            return [
                _record(row)
                for row in look.all(
                    query.order_by(table.c.started.desc(), table.c.rollout_id.desc()).limit(limit)
                )
            ]

    @operation(Permission.READ)
    def decisions(self, rollout: str) -> list[RolloutDecision]:
        """Every decision of a rollout, first to last, with the numbers it read."""
        import sqlalchemy as sa

        from everloop.store.schema.rollout import rollout_decisions as table

        identifier = Reference.parse(rollout, Kind.ROLLOUT).name
        with self.look() as look:
            rows = look.all(sa.select(table).where(table.c.rollout_id == identifier).order_by(table.c.number))
        return [
            RolloutDecision(**{**row._mapping, "state": State(row.state), "verdict": Verdict(row.verdict)})
            for row in rows
        ]

    # Recording

    @operation(Permission.WRITE)
    def begin(self, record: RolloutRecord) -> RolloutRecord:
        """Record a rollout that begins. Raises Conflict while another one of the endpoint is open."""
        from everloop.store.schema.rollout import rollouts as table

        with self.change() as tx:
            before = _newest(tx, record.endpoint)
            if before is not None and before.state not in TERMINAL:
                raise Conflict(
                    f"'{record.endpoint}' is in a rollout of {before.candidate} already",
                    hint=f"end it first: everloop rollout abort {record.endpoint}",
                )
            tx.put(table, _row(record))
            tx.edge(record.candidate, record.reference, "candidate")
            tx.edge(record.champion, record.reference, "champion")
            tx.edge(record.reference, f"endpoint:{record.endpoint}", "decided")
            facts = {
                "endpoint": record.endpoint,
                "champion": record.champion,
                "candidate": record.candidate,
                "plan": record.plan,
                "time": record.started,
            }
            tx.event("rollout.started", record.reference, facts)
        return record

    @operation(Permission.WRITE)
    def record_decision(
        self,
        rollout: str,
        number: int,
        decision: Decision,
        time: datetime,
        evidence: Evidence | None = None,
        progress: Ledgered | None = None,
        seconds: float | None = None,
    ) -> RolloutRecord:
        """Record a decision, with the evidence it read and the state of the evidence after it. Raises
        Conflict when somebody else decided meanwhile (`number` is taken)."""
        import sqlalchemy as sa

        from everloop.store.schema.rollout import rollout_decisions, rollouts

        identifier = Reference.parse(rollout, Kind.ROLLOUT).name
        with self.change() as tx:
            row = tx.first(sa.select(rollouts).where(rollouts.c.rollout_id == identifier).with_for_update())
            if row is None:
                raise NotFound(f"there is no rollout {identifier}")
            before = _record(row)
            if number != before.decisions + 1:
                raise Conflict(
                    f"{before.reference} was decided meanwhile", hint="look again: everloop rollout status"
                )
            changed = decision.state is not before.state
            after = msgspec.structs.replace(
                before,
                state=decision.state,
                step=decision.step,
                verdict=decision.verdict,
                reason=decision.reason,
                entered=time if changed else before.entered,
                stepped=time if changed or decision.step != before.step else before.stepped,
                ended=time if decision.state in TERMINAL else None,
                seconds=seconds if seconds is not None else before.seconds,
                progress=progress or before.progress,
                evidence=evidence or before.evidence,
                decisions=number,
                weights=_weights(before.champion, before.candidate, decision.weight),
            )
            tx.put(rollouts, _row(after))
            said = {
                "rollout_id": identifier,
                "number": number,
                "time": time,
                "state": str(decision.state),
                "verdict": str(decision.verdict),
                "weight": decision.weight,
                "reason": decision.reason,
                "evidence": msgspec.to_builtins(after.evidence),
            }
            tx.put(rollout_decisions, said)
            _tell(tx, before, after, said)
        return after

    # Where the caller is

    def _open(self, endpoint: str) -> RolloutRecord:
        record = self.current(endpoint=endpoint)
        if record is None or record.state in TERMINAL:
            raise NotFound(
                f"'{endpoint}' is in no rollout", hint=f"begin one: everloop rollout start {endpoint} MODEL"
            )
        return record

    def _carry_out(
        self,
        record: RolloutRecord,
        decision: Decision,
        evidence: Evidence,
        progress: Ledgered,
        moment: datetime,
    ) -> RolloutRecord:
        """Switch traffic first, then say so: a process that dies in between has done the safe thing, and
        decides again."""
        seconds = None
        if (decision.state, decision.step) != (record.state, record.step):
            seconds = self._switch(record, decision.state, decision.step, decision.reason)
            progress = msgspec.structs.replace(progress, requests=0, errors=0)
        return self.record_decision(
            rollout=record.rollout_id,
            number=record.decisions + 1,
            decision=decision,
            time=moment,
            evidence=evidence,
            progress=progress,
            seconds=seconds,
        )

    def _switch(self, record: RolloutRecord, state: State, step: int, reason: str) -> float:
        """Give the endpoint the arms of a state; returns the seconds until a running server has taken them
        over."""
        serving = self.context.room(Serving)
        began = time.perf_counter()
        arms = arms_for(record.plan, state, step, record.before, record.candidate, record.transform)
        serving.set_arms(record.endpoint, arms, reason, salt=record.rollout_id)
        serving.apply(record.endpoint)
        return time.perf_counter() - began

    def _promote_alias(self, record: RolloutRecord, because: str = "") -> str:
        """Ask the gates for the alias. Gates that this version passed before are not computed again: neither
        it nor they can have changed. Returns why not, or nothing."""
        registry = self.context.room(Registry)
        for earlier in registry.promotions(record.candidate):
            if earlier.allowed and earlier.gates and earlier.alias in {record.alias, GATED_BEFORE}:
                answer = registry.record_promotion(
                    record.candidate, record.alias, list(earlier.gates), because
                )
                break
        else:
            answer = registry.promote(record.candidate, record.alias, because=because)
        if answer.allowed:
            return ""
        failed = "; ".join(f"{gate.name}: {gate.reason}" for gate in answer.gates if not gate.passed)
        return f"the registry refuses it as {record.alias}: {failed}"


def _by_hand(what: str, because: str) -> str:
    return f"{what} by hand" + (f": {because}" if because else "")


def _champion(arms: tuple[Arm, ...]) -> Arm:
    live = [arm for arm in arms if arm.mode is Mode.LIVE]
    return max(live, key=lambda arm: arm.weight)


def _weights(champion: str, candidate: str, weight: float) -> dict[str, float]:
    return {champion: 1.0 - weight, candidate: weight}


def _tell(tx: "Transaction", before: RolloutRecord, after: RolloutRecord, said: dict[str, Any]) -> None:
    """One event a decision; the names of those that change something say what."""
    happened = "decided"
    if after.state is not before.state or after.step != before.step:
        happened = str(after.state) if after.state in TERMINAL else "advanced"
    elif after.verdict is Verdict.HOLD and before.verdict is not Verdict.HOLD:
        happened = "held"
    facts = {
        "endpoint": after.endpoint,
        "candidate": after.candidate,
        "champion": after.champion,
        "from": before.state,
        "seconds": after.seconds,
        **{name: value for name, value in said.items() if name != "rollout_id"},
    }
    tx.event(f"rollout.{happened}", after.reference, facts)


def _newest(look: "Reader", endpoint: str) -> RolloutRecord | None:
    import sqlalchemy as sa

    from everloop.store.schema.rollout import rollouts as table

    query = sa.select(table).where(table.c.endpoint == endpoint)
    row = look.first(query.order_by(table.c.rollout_id.desc()).limit(1))
    return _record(row) if row is not None else None


def _row(record: RolloutRecord) -> dict[str, Any]:
    plain = msgspec.to_builtins(record, builtin_types=(datetime,))
    return {name: value for name, value in plain.items() if name != "weights"}


def _record(row: "sa.Row[Any]") -> RolloutRecord:
    fields = {str(name): value for name, value in row._mapping.items()}
    state, step = State(fields["state"]), fields["step"]
    plan = msgspec.convert(fields["plan"], Plan)
    weight = weight_of(plan, state, step)
    return msgspec.convert(
        {**fields, "weights": _weights(fields["champion"], fields["candidate"], weight)}, RolloutRecord
    )
