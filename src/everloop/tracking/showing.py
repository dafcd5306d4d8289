"""Runs as small tables in a notebook."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from html import escape
from typing import TYPE_CHECKING, Any

from everloop.domain.runs import OF_THE_MACHINE, RunRecord, metric_text
from everloop.errors import InvalidInput

if TYPE_CHECKING:
    from everloop.tracking.run import Run

MOST_ROWS = 50
MOST_KEYS = 12
_LONGEST = 80


def run_html(record: RunRecord, now: datetime) -> str:
    """A run as HTML: what it is, its parameters and its metrics. Everything a user wrote is escaped."""
    facts = {
        "status": record.status,
        "experiment": record.experiment,
        "started": f"{record.start_time:%Y-%m-%d %H:%M:%S} UTC",
        "duration": _duration(record, now),
        "id": record.run_id,
    }
    metrics = {key: metric_text(value) for key, value in sorted(record.metrics.items())}
    parts = [_pairs("", facts), _pairs("Parameters", record.params), _pairs("Metrics", metrics)]
    return f"<div><b>Run {escape(record.name)}</b>{''.join(part for part in parts if part)}</div>"


def runs_html(records: Sequence[RunRecord], now: datetime) -> str:
    """Runs as one table: the newest first as they came, parameters that differ and metrics as columns."""
    shown = records[:MOST_ROWS]
    params = _differing(shown)[:MOST_KEYS]
    metrics = sorted({key for each in shown for key in each.metrics if not key.startswith(OF_THE_MACHINE)})[
        :MOST_KEYS
    ]
    heads = ["Started", "Run", "Status", "Duration", *params, *metrics]
    rows = [
        [
            f"{each.start_time:%Y-%m-%d %H:%M:%S}",
            each.name,
            each.status,
            _duration(each, now),
            *(each.params.get(key, "") for key in params),
            *(metric_text(each.metrics[key]) if key in each.metrics else "" for key in metrics),
        ]
        for each in shown
    ]
    more = f"<p>and {len(records) - len(shown)} more</p>" if len(records) > len(shown) else ""
    body = "".join(f"<tr>{_cells('td', row)}</tr>" for row in rows)
    return f"<table><thead><tr>{_cells('th', heads)}</tr></thead><tbody>{body}</tbody></table>{more}"


def show(run: "Run", follow: Callable[[Callable[[], None]], None]) -> None:
    """Display a run below the notebook's cell, and draw it anew whenever what `follow` is given is called. Raises InvalidInput
    outside a notebook."""
    try:
        from IPython.display import HTML, display
    except ModuleNotFoundError:
        raise InvalidInput("this is no notebook", hint="in a script, print(run)") from None
    handle: Any = display(HTML(run._repr_html_()), display_id=True)
    if handle is not None:
        follow(lambda: handle.update(HTML(run._repr_html_())))


def _duration(record: RunRecord, now: datetime) -> str:
    seconds = ((record.end_time or now) - record.start_time).total_seconds()
    if seconds < 60:
        return f"{max(seconds, 0.0):.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _pairs(title: str, values: Mapping[str, str]) -> str:
    if not values:
        return ""
    keys = list(values)
    rows = "".join(
        f"<tr><td>{escape(key)}</td><td>{escape(_short(values[key]))}</td></tr>" for key in keys[:MOST_KEYS]
    )
    more = f"<tr><td colspan=2>and {len(keys) - MOST_KEYS} more</td></tr>" if len(keys) > MOST_KEYS else ""
    head = f"<tr><th colspan=2>{title}</th></tr>" if title else ""
    return f"<table>{head}{rows}{more}</table>"


def _differing(records: Sequence[RunRecord]) -> list[str]:
    keys = sorted({key for each in records for key in each.params})
    if len(records) == 1:
        return keys
    return [key for key in keys if len({each.params.get(key) for each in records}) > 1]


def _cells(kind: str, values: Sequence[str]) -> str:
    return "".join(f"<{kind}>{escape(_short(value))}</{kind}>" for value in values)


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
