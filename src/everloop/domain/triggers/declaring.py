"""Declaring a trigger, and whether what was declared makes sense."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, overload

from everloop.domain import policies
from everloop.domain.durations import Duration, duration
from everloop.domain.monitors import Family
from everloop.domain.names import checked_name, shown
from everloop.domain.references import Kind, Reference
from everloop.domain.times import require_zone
from everloop.domain.triggers.kinds import (
    FACTS,
    AlertFires,
    AliasMoves,
    ByHand,
    CatchUp,
    Cron,
    Every,
    FilesArrive,
    NewData,
    On,
    Overlap,
    PipelineEnds,
    PipelineTrigger,
)
from everloop.domain.triggers.times import SHORTHANDS, cron_times
from everloop.errors import InvalidDefinition, InvalidReference, nearest

FILES_OF_OTHERS = ("dvc.yaml", "MLproject")
"""Files of other tools that are pipelines as they are."""
OVERLAPS: tuple[Overlap, ...] = ("skip", "queue", "allow", "replace")
CATCH_UPS: tuple[CatchUp, ...] = ("none", "latest", "all")
ENDS = ("finished", "failed", "interrupted", "any")
SHORTEST_INTERVAL = timedelta(seconds=1)


@overload
def trigger(*, alert: Family | str = "", model_age_days: float = 0.0) -> policies.Trigger: ...


@overload
def trigger(
    name: str,
    *,
    pipeline: Any = "",
    retrain: str = "",
    sweep: Any = "",
    space: str = "",
    trials: int = 0,
    jobs: int = 1,
    params: Mapping[str, Any] | None = None,
    cron: str = "",
    zone: str = "UTC",
    every: Duration | None = None,
    data: str = "",
    alert: Family | str = "",
    endpoint: str = "",
    monitor: str = "",
    after: str = "",
    status: str = "finished",
    alias: str = "",
    files: str = "",
    overlap: Overlap | None = None,
    catch_up: CatchUp = "latest",
    catch_up_most: int = 10,
    debounce: Duration = ...,
    jitter: Duration = ...,
    start: datetime | None = None,
    end: datetime | None = None,
    executor: str = "",
) -> PipelineTrigger: ...


def trigger(
    name: str = "",
    *,
    pipeline: Any = "",
    retrain: str = "",
    sweep: Any = "",
    space: str = "",
    trials: int = 0,
    jobs: int = 1,
    params: Mapping[str, Any] | None = None,
    cron: str = "",
    zone: str = "UTC",
    every: Duration | None = None,
    data: str = "",
    alert: Family | str = "",
    endpoint: str = "",
    monitor: str = "",
    after: str = "",
    status: str = "finished",
    alias: str = "",
    files: str = "",
    model_age_days: float = 0.0,
    overlap: Overlap | None = None,
    catch_up: CatchUp = "latest",
    catch_up_most: int = 10,
    debounce: Duration = timedelta(),
    jitter: Duration = timedelta(),
    start: datetime | None = None,
    end: datetime | None = None,
    executor: str = "",
) -> PipelineTrigger | policies.Trigger:
    """Declare a trigger (``ev.trigger``). Raises InvalidDefinition.

    Without a name it is a part of a policy (``ev.policy(on=…)``) and takes `alert` or `model_age_days` only. With a name it
    starts `pipeline` (``module_or_file:name``, or the pipeline itself), with `retrain` what the policy of a model does, or with
    `sweep` (a pipeline, too) a search through `space`, a TOML file of the project, of so many `trials`, `jobs` at a time:

    - at times: `cron` (five fields, or ``@daily`` and the like) by the clock of `zone` (``Europe/Paris``), or `every` (``15min``)
    - on an event: `data`, a dataset's new version (``raw/*``: of any below the folder); `alert`, one of that family (``any``)
      starts firing, of an `endpoint` and a `monitor` if given; `after`, another pipeline ended with `status`; `alias`
      (``delay@champion``) moved; `files`, one that the pattern names has arrived
    - else only when it is asked to: ``everloop triggers fire NAME``.

    params: of the pipeline. Texts may hold what the firing knows: ``"{scheduled:%Y-%m-%d}"``, ``"{data}"``, ``"{file}"``.
    overlap: when it should start and still runs: ``skip`` (the default of times), ``queue`` (of events), ``allow`` or
    ``replace``. catch_up: of times that passed while nobody looked, none is made up for, the ``latest``, or ``all`` up to
    `catch_up_most`; the others are recorded as missed. debounce: start once no further event has come for so long.
    jitter: start up to so long after each time, by an amount that is always the same for it. start, end: it rests before and
    after.

    >>> trigger("nightly", pipeline="flows.py:refresh", cron="30 2 * * *", zone="Europe/Paris").on
    Cron(expression='30 2 * * *', zone='Europe/Paris')
    >>> trigger("leap", pipeline="flows.py:refresh", cron="0 0 31 2 *")
    Traceback (most recent call last):
    everloop.errors.InvalidDefinition: trigger 'leap': '0 0 31 2 *' never comes: Bad day-of-month
    """
    if not name:
        return policies.trigger(alert=alert, model_age_days=model_age_days)
    _check_name(name)
    if model_age_days:
        raise _wrong(
            name, "the age of a model belongs to a policy", "ev.policy(on=ev.trigger(model_age_days=…))"
        )
    given: list[On] = []
    if cron:
        given.append(Cron(cron, zone))
    elif zone != "UTC":
        raise _wrong(name, "a time zone belongs to a cron expression", "give cron='0 3 * * *'")
    if every is not None:
        given.append(Every(duration(every).total_seconds()))
    if data:
        given.append(NewData(data.removeprefix("data:")))
    if alert:
        given.append(AlertFires(str(alert), endpoint.removeprefix("endpoint:"), monitor))
    elif endpoint or monitor:
        raise _wrong(name, "an endpoint or a monitor says which alerts are meant", "add alert='any'")
    if after:
        given.append(PipelineEnds(after.removeprefix("pipeline:"), status))
    if alias:
        given.append(_alias(name, alias))
    if files:
        given.append(FilesArrive(files))
    if len(given) > 1:
        kinds = " and ".join(_words(each) for each in given)
        raise _wrong(name, f"it is set off by {kinds}", "declare one trigger for each")
    on = given[0] if given else ByHand()
    timed = isinstance(on, Cron | Every)
    made = PipelineTrigger(
        name=name,
        on=on,
        pipeline=str(getattr(pipeline, "source", pipeline)),
        retrain=retrain.removeprefix("model:"),
        params=dict(params or {}),
        executor=executor,
        overlap=overlap or ("skip" if timed else "queue"),
        catch_up=catch_up,
        catch_up_most=catch_up_most,
        debounce_seconds=duration(debounce).total_seconds(),
        jitter_seconds=duration(jitter).total_seconds(),
        start=_moment(name, "start", start),
        end=_moment(name, "end", end),
        sweep=str(getattr(sweep, "source", sweep)),
        space=space,
        trials=trials,
        jobs=jobs,
    )
    check(made)
    return made


def _check_name(name: str) -> None:
    """A trigger is named in commands of scripts and of CI, and in addresses: nothing there needs quotes.

    >>> _check_name("team/nightly-2.1")
    >>> _check_name("-v")
    Traceback (most recent call last):
    everloop.errors.InvalidDefinition: the trigger name '-v' is not made of words
    """
    checked_name(name, "trigger name")
    if not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)*", name):
        raise InvalidDefinition(
            f"the trigger name {shown(name)} is not made of words",
            hint="letters, digits, '_', '-' and '.', beginning with a letter or a digit; '/' makes folders",
        )


def _moment(name: str, what: str, given: object) -> datetime | None:
    if given is None:
        return None
    if not isinstance(given, datetime):
        raise _wrong(name, f"its {what} is {given!r}", f"write {what}=datetime(2026, 1, 31, tzinfo=UTC)")
    return require_zone(given, f"the {what}")


def check(made: PipelineTrigger) -> None:
    """Raise InvalidDefinition unless the trigger makes sense, wherever it was declared."""
    name, on = made.name, made.on
    _check_name(name)
    if sum(map(bool, (made.pipeline, made.retrain, made.sweep))) != 1:
        hint = "one of pipeline='module_or_file:name', retrain='MODEL', sweep='module_or_file:name'"
        raise _wrong(name, "it starts a pipeline, a retraining or a sweep", hint)
    for started in (made.pipeline, made.sweep):
        if started and ":" not in started and started.rpartition("/")[2] not in FILES_OF_OTHERS:
            raise _wrong(name, f"'{started}' names no pipeline", "write module_or_file:pipeline")
    _check_sweep(made)
    if made.retrain and made.params:
        raise _wrong(
            name, "the parameters of a retraining are its policy's", "declare them with ev.policy(params=…)"
        )
    for given, known, what in ((made.overlap, OVERLAPS, "overlap"), (made.catch_up, CATCH_UPS, "catch_up")):
        if given not in known:
            raise _wrong(
                name, f"there is no {what} '{given}'", nearest(given, known) or "one of " + ", ".join(known)
            )
    if not 1 <= made.catch_up_most <= 1000:
        raise _wrong(name, f"catch_up_most is {made.catch_up_most}", "1 to 1000 starts can be made up for")
    if made.debounce_seconds and made.is_timed:
        raise _wrong(
            name, "times come one by one, so there is nothing to debounce", "debounce belongs to events"
        )
    if made.jitter_seconds and not made.is_timed:
        raise _wrong(name, "jitter spreads times", "an event is acted on when it comes")
    if made.start and made.end and made.start >= made.end:
        raise _wrong(name, "it ends before it starts", "give a later end")
    _check_on(name, on)
    _check_templates(made)


def _check_sweep(made: PipelineTrigger) -> None:
    if not made.sweep:
        if made.space or made.trials or made.jobs != 1:
            raise _wrong(
                made.name, "space, trials and jobs belong to a sweep", "add sweep='FILE.py:PIPELINE'"
            )
    elif not made.space or made.trials < 1 or made.jobs < 1:
        hint = "sweep='train.py:train', space='space.toml', trials=20"
        raise _wrong(made.name, "a sweep needs a space and a number of trials, 1 or more", hint)


def _check_on(name: str, on: On) -> None:
    match on:
        case Cron():
            _check_cron(name, on)
        case Every(seconds):
            if not SHORTEST_INTERVAL.total_seconds() <= seconds <= 366 * 86400:
                raise _wrong(name, f"an interval of {seconds:g} s", "write 1s to 366d, such as every='15min'")
        case NewData(pattern):
            checked_name(pattern.removesuffix("/*"), "dataset name")
        case AlertFires(family):
            families = ["any", *(str(each) for each in Family)]
            if family not in families:
                hint = nearest(family, families) or "one of " + ", ".join(families)
                raise _wrong(name, f"there is no family of alerts '{family}'", hint)
        case PipelineEnds(pipeline, status):
            checked_name(pipeline, "pipeline name")
            if status not in ENDS:
                hint = nearest(status, ENDS) or "one of " + ", ".join(ENDS)
                raise _wrong(name, f"no pipeline ends as '{status}'", hint)
        case FilesArrive(pattern):
            if pattern.rstrip("/") != pattern or ".." in pattern.split("/"):
                raise _wrong(name, f"'{pattern}' names no files", "write a pattern such as 'incoming/*.csv'")
        case AliasMoves() | ByHand():
            pass


def _check_cron(name: str, on: Cron) -> None:
    from cronsim import CronSimError

    if on.zone not in _zones():
        raise _wrong(
            name, f"there is no time zone '{on.zone}'", nearest(on.zone, _zones()) or "such as Europe/Paris"
        )
    fields = SHORTHANDS.get(on.expression, on.expression).split()
    if on.expression == "@reboot":
        raise _wrong(
            name, "'@reboot' is no time", "everloop up makes up for what was missed: catch_up='latest'"
        )
    if on.expression.startswith("@") and on.expression not in SHORTHANDS:
        hint = nearest(on.expression, SHORTHANDS) or "an interval is written every='5min'"
        raise _wrong(name, f"there is no '{on.expression}'", hint)
    if len(fields) != 5:
        hint = "minute hour day-of-month month day-of-week; seconds and years are not among them"
        raise _wrong(name, f"'{on.expression}' has {len(fields)} fields, not five", hint)
    if any(re.search(r"(?<![A-Za-z])[RH](?![A-Za-z])", field) for field in fields):
        raise _wrong(name, f"'{on.expression}' has a random field", "spread starts with jitter='10min'")
    try:
        next(cron_times(on, datetime(2000, 1, 1, tzinfo=UTC)))
    except (CronSimError, StopIteration) as error:
        why = str(error) or "there is no such day"
        raise _wrong(
            name, f"'{on.expression}' never comes: {why}", "five fields, as in '30 2 * * 1-5'"
        ) from None


def _check_templates(made: PipelineTrigger) -> None:
    known = FACTS[type(made.on)]
    for parameter, value in made.params.items():
        for text in _texts(value):
            for field, layout in _fields(text, f"trigger '{made.name}': parameter {parameter}"):
                if field not in known:
                    hint = nearest(field, known) or "it knows: " + ", ".join(f"{{{each}}}" for each in known)
                    raise _wrong(
                        made.name, f"parameter {parameter} asks for {{{field}}}, which it does not know", hint
                    )
                if layout and field != "scheduled":
                    raise _wrong(
                        made.name, f"parameter {parameter}: {{{field}}} takes no format", f"write {{{field}}}"
                    )


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _texts(each)


def _fields(text: str, where: str) -> Iterator[tuple[str, str]]:
    try:
        for _, field, layout, conversion in string.Formatter().parse(text):
            if field is None:
                continue
            if conversion or not field.isidentifier():
                raise ValueError(f"{{{field}}} is more than a name")
            yield field, layout or ""
    except ValueError as error:
        raise InvalidDefinition(
            f"{where}: {text!r} cannot be read: {error}",
            hint="a brace that stands for itself is written {{ or }}",
        ) from None


def _wrong(name: str, what: str, hint: str) -> InvalidDefinition:
    return InvalidDefinition(f"trigger '{name}': {what}", hint=hint)


def _alias(name: str, text: str) -> AliasMoves:
    try:
        meant = Reference.parse(text, Kind.MODEL)
    except InvalidReference as error:
        raise _wrong(name, error.message, error.hint) from None
    if meant.alias is None:
        raise _wrong(name, f"'{text}' names no alias", "write alias='MODEL@champion'")
    return AliasMoves(meant.name, meant.alias)


def _words(on: On) -> str:
    return {Cron: "cron", Every: "every", NewData: "data", AlertFires: "alert", PipelineEnds: "after"}.get(
        type(on), "alias" if isinstance(on, AliasMoves) else "files"
    )


@cache
def _zones() -> set[str]:
    from zoneinfo import available_timezones

    return available_timezones()
