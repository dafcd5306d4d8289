"""Run folders of Weights & Biases' client as runs: offline ones, and what it kept of those that were sent."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from everloop.domain.adoption import AdoptedExperiment, AdoptedRun, derived_id
from everloop.domain.runs import FAILED, FINISHED, KILLED, NOTE, Captured
from everloop.domain.times import from_micros
from everloop.errors import Corrupted, InvalidInput, NotFound
from everloop.exchange.folders import files_below
from everloop.exchange.points import Point, metric_columns, seconds_as_micros
from everloop.exchange.source import ForeignFile, Head, RunsOnly, Skipped
from everloop.exchange.wandb.messages import (
    Changes,
    Config,
    Exit,
    RunSaid,
    Said,
    Stats,
    Step,
    Summary,
    Surroundings,
    leaves,
    read_record,
)
from everloop.exchange.wandb.records import records

ENDING = ".wandb"
NO_PROJECT = "uncategorized"
"""What Weights & Biases calls the project of a run that names none."""
_OWN = "_"
"""How keys begin that the client adds: `_step`, `_runtime`, `_timestamp`, `_wandb`."""


class RunFolders(RunsOnly):
    """A `Source` over a folder with run folders in it, or over one of them. `experiment`: the experiment of all of them; else
    each run's project."""

    def __init__(self, folder: Path, experiment: str = "") -> None:
        super().__init__(f"wandb {folder}")
        if not folder.is_dir():
            raise NotFound(
                f"there is no folder {folder}", hint="give the folder called wandb, or a run folder in it"
            )
        found = [each for each in sorted(folder.rglob(f"*{ENDING}")) if each.is_file()]
        # `latest-run` is a link to a folder that is there too.
        self._files = {_given(each): each for each in found if not _below_a_link(each, folder)}
        if not self._files:
            raise InvalidInput(
                f"{folder} holds no runs of Weights & Biases", hint=f"each has a file that ends in {ENDING}"
            )
        self._experiment = experiment
        self._projects = {given: self._project(file) for given, file in self._files.items()}

    def experiments(self) -> dict[str, AdoptedExperiment]:
        names = dict.fromkeys(each for each in self._projects.values() if each)
        return {name: AdoptedExperiment(derived_id("wandb project", name), name) for name in names}

    def heads(self) -> Sequence[Head]:
        return [
            Head(derived_id("wandb run", given), given, project, FINISHED, given)
            for given, project in self._projects.items()
            if project
        ]

    def read(self, heads: Sequence[Head]) -> Iterator[AdoptedRun]:
        for head in heads:
            gathered = _Gathered()
            for said in self._said(self._files[head.given]):
                gathered.take(said)
            self.skipped += [
                Skipped(kind, f"run:{head.run_id}", f"{number} of them are not read")
                for kind, number in sorted(gathered.left.items())
            ]
            yield gathered.run(head)

    def files(self, head: Head) -> Iterable[ForeignFile]:
        """What the client kept for the run: media, the environment, what was printed."""
        folder = self._files[head.given].parent / "files"
        return files_below(folder, "artifact", head.given, self.skipped) if folder.is_dir() else ()

    def _project(self, file: Path) -> str:
        """The experiment of a run; blank where the file says nothing of a run."""
        for said in self._said(file):
            if isinstance(said, RunSaid):
                return self._experiment or said.project or NO_PROJECT
        self.skipped.append(Skipped("run", _given(file), "its process ended before anything was written"))
        return ""

    def _said(self, file: Path) -> Iterator[Said]:
        """What the records of a file say; of a damaged one those before the damage."""
        try:
            with file.open("rb") as stream:
                for record in records(stream):
                    said = read_record(record)
                    if said is not None:
                        yield said
        except (Corrupted, OSError) as error:
            left = Skipped("record file", _given(file), f"from here on it is not read: {error}")
            if left not in self.skipped:
                self.skipped.append(left)


class _Gathered:
    """A run as its records tell it, one after the other."""

    def __init__(self) -> None:
        self._said: RunSaid | None = None
        self._surroundings = Surroundings("", "", "")
        self._config: dict[str, Any] = {}
        self._series: dict[str, list[Point]] = defaultdict(list)
        self._summary: dict[str, float] = {}
        self._exit: int | None = None
        self._last_step, self._last_time = 0, 0.0
        self._samples = 0
        self.left: Counter[str] = Counter()

    def take(self, said: Said) -> None:
        match said:
            case RunSaid():
                self._said = self._said or said
                self._configure(said.config)
                self._last_time = max(self._last_time, said.start)
            case Config(changes):
                self._configure(changes)
            case Step():
                self._step(said)
            case Summary(changes):
                self._conclude(changes)
            case Stats():
                self._sample(said)
            case Exit(code):
                self._exit = code
            case Surroundings():
                self._surroundings = Surroundings(
                    said.program or self._surroundings.program,
                    said.user or self._surroundings.user,
                    said.commit or self._surroundings.commit,
                )

    def run(self, head: Head) -> AdoptedRun:
        assert self._said is not None
        said = self._said
        # What was only concluded, such as a best value, stands at the last step.
        moment = seconds_as_micros(self._last_time)
        for key, value in self._summary.items():
            if key not in self._series:
                self._series[key] = [(self._last_step, moment, value)]
        ended = {None: KILLED, 0: FINISHED}.get(self._exit, FAILED)
        tags = {
            "wandb.run_id": said.run_id,
            "wandb.tags": ", ".join(said.tags),
            "wandb.group": said.group,
            "wandb.job_type": said.job_type,
            "wandb.sweep": said.sweep,
            "wandb.host": said.host,
            NOTE: said.notes,
        }
        return AdoptedRun(
            head.run_id,
            head.experiment,
            said.name or said.run_id,
            self._surroundings.user,
            ended,
            from_micros(seconds_as_micros(said.start)),
            from_micros(moment),
            captured=Captured(
                source=self._surroundings.program, commit=(said.commit or self._surroundings.commit)[:64]
            ),
            params={key: _told(value) for key, value in self._config.items()},
            tags={key: value for key, value in tags.items() if value},
            metrics=metric_columns(self._series),
        )

    def _configure(self, changes: Changes) -> None:
        for path in changes.removed:
            name = ".".join(path)
            self._config = {
                key: value
                for key, value in self._config.items()
                if key != name and not key.startswith(f"{name}.")
            }
        self._config |= {
            key: value
            for path, given in changes.values.items()
            for key, value in leaves(path, given)
            if not key.startswith(_OWN)
        }

    def _step(self, step: Step) -> None:
        values = {key: value for path, given in step.values.items() for key, value in leaves(path, given)}
        number = step.number if step.number is not None else int(values.get("_step", self._last_step + 1))
        self._last_step = max(self._last_step, number)
        time = values.get("_timestamp")
        if isinstance(time, int | float):
            self._last_time = max(self._last_time, time)
        moment = seconds_as_micros(self._last_time)
        described = _described(step.values)
        self.left.update(described.values())
        for path, given in step.values.items():
            if path[0] in described:
                continue
            for key, value in leaves(path, given):
                if _is_number(value):
                    if not key.startswith(_OWN):
                        self._series[key].append((number, moment, float(value)))
                else:
                    self.left[_kind(value)] += 1

    def _conclude(self, changes: Changes) -> None:
        described = _described(changes.values)
        for path, given in changes.values.items():
            if path[0] in described:
                continue
            for key, value in leaves(path, given):
                if _is_number(value) and not key.startswith(_OWN):
                    self._summary[key] = float(value)
        for path in changes.removed:
            self._summary.pop(".".join(path), None)

    def _sample(self, stats: Stats) -> None:
        moment = seconds_as_micros(stats.time)
        self._last_time = max(self._last_time, stats.time)
        for path, value in stats.values.items():
            if _is_number(value):
                self._series[f"system/{'.'.join(path)}"].append((self._samples, moment, float(value)))
        self._samples += 1


def _given(file: Path) -> str:
    """What names a run wherever its folder is moved to: the folder's name has its time and identifier."""
    return f"{file.parent.name}/{file.name}"


def _below_a_link(file: Path, folder: Path) -> bool:
    return any(each.is_symlink() for each in [file, *file.parents][: len(file.relative_to(folder).parts)])


def _described(values: Mapping[tuple[str, ...], Any]) -> dict[str, str]:
    """The keys of values that come in parts and say what they are, a table, an image, a histogram, with what that is."""
    return {path[0]: str(given) for path, given in values.items() if path[1:] == ("_type",)}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _kind(value: Any) -> str:
    """What a value that is no number is called in the report."""
    if isinstance(value, dict):
        return str(value.get("_type", "object"))
    return {str: "text", bool: "truth value", list: "list"}.get(type(value), "value")


def _told(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
