"""Stages of a dvc.yaml as a pipeline: cmd, deps, outs, metrics, plots, params, vars, foreach, matrix, wdir, frozen and more.

What DVC calls a stage is a `CommandStep`; its edges are outputs that are inputs of another. Files are put where DVC would have
put them. The run has the parameters, metrics and plots that DVC's tables would show (`told`). dvc.lock is neither read nor
written.
"""

from __future__ import annotations

import itertools
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from everloop.domain.canonical import digest_of
from everloop.domain.pipelines import Component
from everloop.errors import InvalidDefinition, InvalidInput, nearest
from everloop.pipelines.code.described import Description
from everloop.pipelines.foreign.commands import Command, CommandStep, FilePipeline, restore, within
from everloop.pipelines.foreign.documents import mapping_in, values_of
from everloop.pipelines.foreign.templates import filled, looked_up
from everloop.pipelines.foreign.told import tell
from everloop.pipelines.steps import StepOptions
from everloop.tracking.run import active_run

_OUTPUTS = (
    "outs", "outs_no_cache", "outs_persist", "outs_persist_no_cache", "metrics", "metrics_no_cache", "plots", "plots_no_cache",
)  # fmt: skip
_KNOWN = {*_OUTPUTS, "cmd", "deps", "params", "vars", "wdir", "frozen", "always_changed", "desc", "meta"}
PARAMS = "params.yaml"
_EXAMPLE = "stages: {train: {cmd: python train.py}}"


@dataclass(frozen=True)
class Stage:
    """A stage with its places filled; paths are relative to the project's folder."""

    name: str
    command: Command
    frozen: bool
    always: bool
    shows: Shown


@dataclass(frozen=True)
class Shown:
    """Files and folders, from the project's folder, with numbers (metrics) and with pictures or their points (plots)."""

    metrics: tuple[str, ...] = ()
    plots: tuple[str, ...] = ()


def dvc_pipeline(path: Path, stage: str, project: Path) -> FilePipeline:
    """The pipeline of a dvc.yaml: all stages, or one and those it needs. Raises InvalidDefinition for a file that is none."""
    root = project.resolve()
    stages = {each.name: each for each in stages_of(path, root)}
    chosen = list(stages)
    if stage:
        chosen = [
            name for name in stages if name == stage or _shown(name) == stage or name.startswith(f"{stage}@")
        ]
        if not chosen:
            raise InvalidInput(
                f"{path.name} has no stage '{stage}'",
                hint=nearest(stage, stages) or f"it has {', '.join(stages) or 'none'}",
            )
    ordered = _ordered(stages, chosen, path)
    made = {output: name for name in ordered for output in stages[name].command.makes}
    steps = {}
    for name in ordered:
        command = stages[name].command
        before = [
            output
            for output, maker in made.items()
            if maker != name and any(_touch(output, each) for each in command.needs)
        ]
        options = StepOptions(cache=not stages[name].always)
        steps[name] = CommandStep(replace(command, before=tuple(before)), _shown(name), path, options)
    folder = path.resolve().parent.relative_to(root).as_posix()
    source = posixpath.normpath(posixpath.join(folder, path.name))
    name = "dvc" if folder == "." else f"{folder}/dvc"
    shows = [stages[each].shows for each in ordered] + [_shown_by_file(path, root)]
    params = {key: value for each in ordered for key, value in stages[each].command.params}
    return FilePipeline(_Stages(steps, root, params, shows), name, f"{source}:{stage}" if stage else source)


class _Stages:
    """Calls the steps, each with the outputs it needs, and puts what they made into the project."""

    def __init__(
        self, steps: dict[str, CommandStep], root: Path, params: Mapping[str, Any], shows: Sequence[Shown]
    ) -> None:
        self._steps, self._root = steps, root
        self._params, self._shows = params, shows

    def __call__(self) -> dict[str, dict[str, Any]]:
        makers = {path: name for name, step in self._steps.items() for path in step.command.makes}
        results: dict[str, Any] = {}
        for name, step in self._steps.items():
            results[name] = step.after(
                {path: results[makers[path]]["files"][path] for path in step.command.before}
            )
        for name, step in self._steps.items():
            restore(self._root, results[name], step.command.makes)
        run = active_run()
        if run is not None:
            metrics = [path for each in self._shows for path in each.metrics]
            plots = [path for each in self._shows for path in each.plots]
            tell(run, self._root, self._params, metrics, plots)
        return {name: result["digests"] for name, result in results.items()}

    def described(self, root: Path) -> Description:
        said = {name: msgspec.to_builtins(step.command, enc_hook=str) for name, step in self._steps.items()}
        return Description((Component("stages", "stages", digest_of(said)),))


def stages_of(path: Path, root: Path) -> list[Stage]:
    """The stages of a file, loops unrolled."""
    told = mapping_in(path, _EXAMPLE)
    known: dict[str, Any] = {}
    if (path.parent / PARAMS).is_file():
        known |= values_of(path.parent / PARAMS)
    known |= _vars(told.get("vars"), path.parent, known, path.name)
    found = []
    for name, said in _each(told.get("stages"), path.name, "stages"):
        for full, body, extra in _unrolled(name, said, known, path.name):
            found.append(_stage(full, body, known | extra, path, root))
    return found


def _unrolled(
    name: str, said: Mapping[str, Any], known: Mapping[str, Any], where: str
) -> Iterator[tuple[str, Mapping[str, Any], dict[str, Any]]]:
    """A stage, or those that ``foreach`` and ``matrix`` make of it: name, body, and the values of this one."""
    where = f"{where}: stage {name}"
    if "foreach" in said:
        body = said.get("do")
        if not isinstance(body, Mapping):
            raise InvalidDefinition(f"{where} has foreach and no do")
        items = filled(said["foreach"], known, where)
        if isinstance(items, Mapping):
            for key, item in items.items():
                yield f"{name}@{key}", body, {"item": item, "key": key}
        else:
            plain = all(not isinstance(item, Mapping | list) for item in items)
            for number, item in enumerate(items):
                yield f"{name}@{_word(item) if plain else number}", body, {"item": item, "key": number}
    elif "matrix" in said:
        axes = filled(said["matrix"], known, where)
        body = {key: each for key, each in said.items() if key != "matrix"}
        for chosen in itertools.product(*(list(enumerate(values)) for values in axes.values())):
            words = [
                f"{axis}{number}" if isinstance(item, Mapping | list) else _word(item)
                for axis, (number, item) in zip(axes, chosen, strict=True)
            ]
            items = {axis: item for axis, (_, item) in zip(axes, chosen, strict=True)}
            yield f"{name}@{'-'.join(words)}", body, {"item": items, "key": "-".join(words)}
    else:
        yield name, said, {}


def _stage(name: str, said: Mapping[str, Any], known: dict[str, Any], path: Path, root: Path) -> Stage:
    where = f"{path.name}: stage {name}"
    unknown = next((key for key in said if key not in _KNOWN), None)
    if unknown is not None:
        raise InvalidDefinition(
            f"{where} has '{unknown}'", hint=nearest(unknown, _KNOWN) or "see dvc.yaml's reference"
        )
    wdir = str(filled(said.get("wdir", "."), known, where))
    home = (path.parent / wdir).resolve()
    known = known | _vars(said.get("vars"), home, known, where)
    commands = filled(said.get("cmd") or [], known, where, command=True)
    texts = [commands] if isinstance(commands, str) else list(commands)
    if not texts or not all(isinstance(each, str) for each in texts):
        raise InvalidDefinition(f"{where} has no cmd", hint="cmd: python train.py")

    def placed(each: str) -> str:
        return _placed(each, home, root, where)

    outputs = [
        (placed(str(each)), bool(settings.get("persist")) or "persist" in kind)
        for kind in _OUTPUTS
        for each, settings in _entries(filled(said.get(kind) or [], known, where))
    ]
    needs = tuple(placed(str(each)) for each, _ in _entries(filled(said.get("deps") or [], known, where)))
    command = Command(
        text=" && ".join(texts) if len(texts) > 1 else texts[0],
        folder=home.relative_to(root).as_posix(),
        needs=needs,
        makes=tuple(each for each, _ in outputs),
        keeps=tuple(each for each, kept in outputs if kept),
        params=tuple(_params(filled(said.get("params") or [], known, where), home, root, where)),
    )
    return Stage(
        name,
        command,
        bool(said.get("frozen")),
        bool(said.get("always_changed")) or not (needs or command.params),
        Shown(
            *(
                tuple(
                    placed(str(each))
                    for kind in (what, f"{what}_no_cache")
                    for each, _ in _entries(filled(said.get(kind) or [], known, where))
                )
                for what in ("metrics", "plots")
            )
        ),
    )


def _placed(each: str, home: Path, root: Path, where: str) -> str:
    """A path of a file as one from the project's folder."""
    place = Path(posixpath.normpath(home / each))
    if not place.is_relative_to(root) or place == root:
        raise InvalidDefinition(
            f"{where}: {each} is not inside the project {root}", hint="keep its files together"
        )
    return place.relative_to(root).as_posix()


def _shown_by_file(path: Path, root: Path) -> Shown:
    """What the file names beside its stages. A plot is a file, or has a title and names its files as what lies on its axes."""
    told = mapping_in(path, _EXAMPLE)
    home = path.resolve().parent

    def files(said: Any) -> Iterator[str]:
        for each, settings in _entries(said or []):
            axes = [settings.get(axis) for axis in ("x", "y")]
            named = [file for axis in axes if isinstance(axis, Mapping) for file in axis]
            yield from (_placed(str(file), home, root, path.name) for file in named or [each])

    return Shown(tuple(files(told.get("metrics"))), tuple(files(told.get("plots"))))


def _params(said: list[Any], folder: Path, root: Path, where: str) -> Iterator[tuple[str, Any]]:
    """The values that a stage says it depends on, by name; those of other files than the project's params.yaml with the file's
    name in front."""
    for each in said:
        files = each.items() if isinstance(each, Mapping) else [(PARAMS, [each])]
        for file, names in files:
            values = values_of(folder / file)
            place = posixpath.relpath(folder / file, root)
            for name in names or values:
                yield (
                    name if place == PARAMS else f"{place}:{name}",
                    looked_up(str(name), values, f"{where}: {file}"),
                )


def _ordered(stages: Mapping[str, Stage], chosen: list[str], path: Path) -> list[str]:
    """The chosen stages and those they need, each after those it needs. Frozen ones are left out: their outputs stay."""
    makers: dict[str, str] = {}
    for name, stage in stages.items():
        for output in stage.command.makes:
            if output in makers:
                raise InvalidDefinition(f"{path.name}: {output} is made by {makers[output]} and by {name}")
            makers[output] = name
    found: list[str] = []
    entered: list[str] = []

    def take(name: str) -> None:
        if name in found or stages[name].frozen:
            return
        if name in entered:
            raise InvalidDefinition(f"{path.name}: {' needs '.join([*entered[entered.index(name) :], name])}")
        entered.append(name)
        for output, maker in makers.items():
            if maker != name and any(_touch(output, each) for each in stages[name].command.needs):
                take(maker)
        entered.pop()
        found.append(name)

    for name in chosen:
        take(name)
    return found


def _touch(one: str, other: str) -> bool:
    """Whether two paths are the same, or one is inside the other."""
    return within(one, other) or within(other, one)


def _entries(said: list[Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Paths with their settings: ``- model.pkl`` and ``- model.pkl: {cache: false}``."""
    for each in said if isinstance(said, list) else [said]:
        if isinstance(each, Mapping):
            yield from ((str(path), settings or {}) for path, settings in each.items())
        else:
            yield str(each), {}


def _vars(said: Any, folder: Path, known: Mapping[str, Any], where: str) -> dict[str, Any]:
    """What ``vars`` brings: values written there, or a file's, or some of a file's (``conf.yaml:train,test``)."""
    found: dict[str, Any] = {}
    for each in said or []:
        if isinstance(each, Mapping):
            found |= filled(each, {**known, **found}, where)
            continue
        file, _, names = str(each).partition(":")
        values = values_of(folder / file)
        found |= {name: values[name] for name in names.split(",")} if names else values
    return found


def _each(said: Any, where: str, what: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if not isinstance(said, Mapping) or not said:
        raise InvalidDefinition(f"{where} has no {what}", hint=_EXAMPLE)
    for name, each in said.items():
        if not isinstance(each, Mapping):
            raise InvalidDefinition(f"{where}: stage {name} is no mapping")
        yield str(name), each


def _shown(name: str) -> str:
    """A stage of a loop is called as a part of a map is: ``train[a]`` for DVC's ``train@a``."""
    stage, at, rest = name.partition("@")
    return f"{stage}[{rest.replace('@', '-').replace(':', '-')}]" if at else name


def _word(item: Any) -> str:
    return str(item).lower() if isinstance(item, bool) else str(item)
