"""`actuals`, `health`, `monitors` and `alerts`."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from everloop.cli.frame import command, emit, facts, table, workspace
from everloop.cli.instants import Instant

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

    from everloop.domain.alerts import Alert
    from everloop.domain.monitors import Monitor
    from everloop.monitoring.records import EvaluationSummary, Health

MOST_DAYS = 36_500
"""Of a silence: a hundred years."""


@click.group()
def actuals() -> None:
    """The truth that came later."""


@command("add")
@click.argument("endpoint")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--received", type=Instant(), help="When the labels came, if not now.")
@click.option("--source", default="", help="Where they are from; the file's name otherwise.")
def add(endpoint: str, file: Path, received: datetime | None, source: str) -> None:
    """Add labels from a Parquet, CSV or JSON-lines file: label, and prediction_id or key (and time);
    observed, if known."""
    found = workspace(write=True)
    found.serving.endpoint(endpoint)
    receipt = found.monitoring.add_actuals(endpoint, file, received=received, source=source)
    emit(
        receipt,
        lambda _: (
            f"{receipt.matched} matched ({receipt.corrections} of them corrections), {receipt.duplicates} known already, "
            f"{receipt.unmatched} without a prediction yet"
        ),
    )


@command()
@click.argument("endpoint")
@click.option("--until", type=Instant(), help="As of this moment, if not all that is known.")
@click.option("--evaluate", is_flag=True, help="Look at what has come first (until now, or --until).")
def health(endpoint: str, until: datetime | None, evaluate: bool) -> None:
    """How an endpoint is doing: realised and estimated performance, drift, latency, errors, alerts."""
    found = workspace(write=evaluate)
    found.serving.endpoint(endpoint)
    if evaluate:
        found.monitoring.evaluate(endpoint, until or found.clock())
    emit(found.monitoring.health(endpoint=endpoint, until=until), _health)


@click.group()
def monitors() -> None:
    """What is watched."""


@command("list")
@click.argument("endpoint", default="")
def list_monitors(endpoint: str) -> None:
    """The declared monitors with their rules."""
    found = workspace().monitoring.monitors(endpoint=endpoint)
    emit({"monitors": found}, lambda _: _monitors(found))


@command("apply")
@click.argument("module", default="")
def apply(module: str) -> None:
    """Record the monitors, outcomes, rollout plans and policies of a definitions module (FILE.py or a dotted
    name); without one, of the project's modules."""
    applied = workspace(write=True).loop.apply(module)
    emit(
        applied,
        lambda _: facts([(name, ", ".join(getattr(applied, name))) for name in applied.__struct_fields__]),
    )


@command("evaluate")
@click.argument("endpoint")
@click.option("--until", type=Instant(), help="Days that are over by then; now otherwise.")
def evaluate(endpoint: str, until: datetime | None) -> None:
    """Close the days that are over and judge those whose labels have come."""
    found = workspace(write=True)
    found.serving.endpoint(endpoint)
    emit(found.monitoring.evaluate(endpoint, until or found.clock()), _evaluated)


@click.group()
def alerts() -> None:
    """What is wrong, since when, how much, and what to do."""


@command("list")
@click.option("--endpoint", default="", help="Of one endpoint only.")
@click.option(
    "--state", default="", help="pending, firing, acknowledged, resolved; open: all that are not resolved."
)
def list_alerts(endpoint: str, state: str) -> None:
    """Alerts, newest first."""
    found = workspace().monitoring.alerts(endpoint=endpoint, state=state)
    emit({"alerts": found}, lambda _: _alerts(found))


@command("show")
@click.argument("reference")
def show(reference: str) -> None:
    """One alert: what, since when, how much, what was tested, what to do."""
    emit(workspace().monitoring.alert(ref=reference), _alert)


@command("ack")
@click.argument("reference")
@click.option("--because", default="", help="What is being done about it.")
def ack(reference: str, because: str) -> None:
    """Say that somebody looks after an alert."""
    emit(workspace(write=True).monitoring.ack(ref=reference, because=because), _alert)


@command("silence")
@click.argument("reference")
@click.option("--until", type=Instant(), help="The end of the silence.")
@click.option("--days", type=float, help="How many days from now.")
@click.option("--because", required=True, help="Why nobody needs to be called.")
def silence(reference: str, until: datetime | None, days: float | None, because: str) -> None:
    """Call nobody about an alert for a while. It is still kept and shown."""
    if (until is None) == (days is None):
        raise click.UsageError("give --until or --days")
    if days is not None and not 0 < days <= MOST_DAYS:  # NaN too
        raise click.UsageError(f"--days is more than 0 and at most {MOST_DAYS:,}")
    found = workspace(write=True)
    end = until if until is not None else found.clock() + timedelta(days=days or 0.0)
    emit(found.monitoring.silence(ref=reference, until=end, because=because), _alert)


actuals.add_command(add)
for _each in (list_monitors, apply, evaluate):
    monitors.add_command(_each)
for _each in (list_alerts, show, ack, silence):
    alerts.add_command(_each)


def _monitors(found: list[Monitor]) -> Table | str:
    rows = [
        (
            each.endpoint,
            each.name,
            each.measure,
            each.effect,
            each.significance,
            each.persistence,
            each.trailing or "",
            each.severity,
        )
        for each in found
    ]
    return table(
        ["endpoint", "monitor", "measures", "effect", "p at most", "in a row", "days", "calls"],
        rows,
        right=["effect", "p at most", "in a row", "days"],
        empty="nothing is watched yet; declare monitors, ev.monitor(…), then: everloop monitors apply",
    )


def _alerts(found: list[Alert]) -> Table | str:
    rows = [
        (
            each.alert_id[:12],
            each.endpoint,
            each.state,
            each.family,
            each.report.since or "",
            each.report.what,
        )
        for each in found
    ]
    return table(
        ["alert", "endpoint", "state", "family", "since", "what"], rows, empty="no alerts of this kind"
    )


def _alert(alert: Alert) -> Table:
    report = alert.report
    pairs: list[tuple[str, object]] = [
        ("alert", alert.alert_id),
        ("endpoint", f"{alert.endpoint} ({alert.model})"),
        ("state", alert.state),
        ("what", report.what),
        ("since", report.since or ""),
        ("how much", report.how_much),
        ("tested", report.tested),
        ("to do", report.to_do.replace("alert:…", f"alert:{alert.alert_id[:12]}")),
    ]
    pairs += [("seen beside it", note) for note in report.notes]
    if alert.acknowledged_by:
        pairs.append(("acknowledged", f"by {alert.acknowledged_by}: {alert.acknowledged_because}"))
    if alert.silenced_until is not None:
        pairs.append(("silenced", f"until {alert.silenced_until:%Y-%m-%d %H:%M}: {alert.silenced_because}"))
    if alert.resolved is not None:
        pairs.append(("resolved", f"{alert.resolved:%Y-%m-%d}: {alert.resolved_because}"))
    return facts(pairs)


def _evaluated(summary: EvaluationSummary) -> str:
    lines = [f"{summary.closed} days looked at, {summary.final} of them final"]
    lines += [f"alert {each.alert_id[:12]} is {each.state}: {each.report.what}" for each in summary.alerts]
    return "\n".join([*lines, *(f"noted: {text}" for text in summary.notes)])


def _health(health: Health) -> Group:
    from rich.console import Group

    head = facts(
        [
            ("endpoint", f"{health.endpoint} ({health.model or 'no model has answered yet'})"),
            ("evaluated until", health.until or "not yet"),
            ("days", ", ".join(f"{count} {status}" for status, count in health.windows.items() if count)),
        ]
    )
    values = [
        (kind, name, each["value"], each.get("low"), each.get("high"))
        for kind, found in (("realised", health.realised), ("estimated", health.estimated))
        for name, each in (found or {}).items()
        if isinstance(each, dict) and "value" in each
    ]
    service = [("latency", name, value * 1000) for name, value in (health.latency or {}).items()]
    parts: list[object] = [
        head,
        table(["", "value", "mean of days", "low", "high"], values, right=["mean of days", "low", "high"]),
    ]
    if service or health.errors:
        rows = [(kind, name, f"{value:.2f} ms") for kind, name, value in service]
        rows += [("errors", "rate", f"{health.errors['rate']:.3%}")] if health.errors else []
        parts.append(table(["", "", "value"], rows))
    if health.drift:
        moved = [
            (each["column"], each["monitor"], each["effect"], each["floor"]) for each in health.drift[:10]
        ]
        parts.append(
            table(
                ["column", "monitor", "effect", "floor"],
                moved,
                right=["effect", "floor"],
                title="not as in the reference",
            )
        )
    parts.append(_alerts(health.alerts) if health.alerts else "no alert")
    return Group(*parts)  # type: ignore[arg-type]
