"""A log folder of TensorBoard's as runs: each folder with event files in it is one."""

from __future__ import annotations

import io
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import BinaryIO

from everloop.domain.adoption import AdoptedExperiment, AdoptedRun, derived_id
from everloop.domain.runs import FINISHED
from everloop.domain.times import from_micros
from everloop.errors import Corrupted, InvalidInput, NotFound
from everloop.exchange.points import Point, metric_columns, seconds_as_micros
from everloop.exchange.source import ForeignFile, Head, RunsOnly, Skipped
from everloop.exchange.tensorboard.events import Event, Said, read_event
from everloop.exchange.tensorboard.records import records

MARK = "tfevents"
_PICTURES = {b"\x89PNG": ".png", b"GIF8": ".gif", b"\xff\xd8\xff": ".jpg"}


class LogFolder(RunsOnly):
    """A `Source` over a log folder. `experiment`: what the experiment is called; else as the folder."""

    def __init__(self, folder: Path, experiment: str = "") -> None:
        super().__init__(f"tensorboard {folder}")
        if not folder.is_dir():
            raise NotFound(
                f"there is no folder {folder}", hint="give the folder that tensorboard --logdir names"
            )
        self._folder = folder
        self._experiment = experiment or folder.resolve().name
        self._files: dict[str, list[Path]] = defaultdict(list)
        for file in sorted(folder.rglob(f"*{MARK}*")):
            if file.is_file() and not file.is_symlink():
                self._files[file.parent.relative_to(folder).as_posix()].append(file)
        if not self._files:
            raise InvalidInput(f"{folder} holds no event files", hint=f"their names contain '{MARK}'")
        self._attached: dict[str, list[ForeignFile]] = {}

    def experiments(self) -> dict[str, AdoptedExperiment]:
        key = derived_id("tensorboard experiment", self._experiment)
        return {self._experiment: AdoptedExperiment(key, self._experiment)}

    def heads(self) -> Sequence[Head]:
        # The first file's name holds host, process and time, so a folder that moved is known again.
        return [
            Head(derived_id("tensorboard run", name, files[0].name), name, self._experiment, FINISHED, name)
            for name, files in self._files.items()
        ]

    def read(self, heads: Sequence[Head]) -> Iterator[AdoptedRun]:
        for head in heads:
            yield self._run(head)

    def files(self, head: Head) -> Iterable[ForeignFile]:
        """The images and texts of a run that was read."""
        return self._attached.pop(head.given, [])

    def _run(self, head: Head) -> AdoptedRun:
        series: dict[str, list[Point]] = defaultdict(list)
        params: dict[str, str] = {}
        attached: dict[str, ForeignFile] = {}
        left: Counter[str] = Counter()
        times = []
        for event in self._events(head):
            moment = seconds_as_micros(event.time)
            times.append(moment)
            for said in event.said:
                if said.kind == "scalar":
                    series[said.tag].append((event.step, moment, said.number))
                elif said.kind == "param":
                    params[said.tag] = said.content.decode()
                elif said.kind in {"image", "text"} and said.content:
                    file = _attachment(said, event.step)
                    attached[file.path] = file
                else:
                    left[said.kind] += 1
        self._attached[head.given] = list(attached.values())
        self.skipped += [
            Skipped(kind, f"run:{head.run_id}", f"{number} of them are not read")
            for kind, number in sorted(left.items())
        ]
        start, end = (from_micros(min(times)), from_micros(max(times))) if times else (from_micros(0),) * 2
        name = self._experiment if head.given == "." else head.given
        return AdoptedRun(
            head.run_id,
            self._experiment,
            name,
            "",
            FINISHED,
            start,
            end,
            params=params,
            metrics=metric_columns(series),
        )

    def _events(self, head: Head) -> Iterator[Event]:
        """The events of all files of a run; of a damaged file those before the damage."""
        for file in self._files[head.given]:
            try:
                with file.open("rb") as stream:
                    for record in records(stream):
                        yield read_event(record)
            except (Corrupted, OSError) as error:
                place = file.relative_to(self._folder).as_posix()
                self.skipped.append(Skipped("event file", place, f"from here on it is not read: {error}"))


def _attachment(said: Said, step: int) -> ForeignFile:
    ending = next((end for mark, end in _PICTURES.items() if said.content.startswith(mark)), ".bin")
    folder, ending = ("images", ending) if said.kind == "image" else ("texts", ".txt")
    return ForeignFile(
        f"{folder}/{said.tag.strip('/')}/{step}{ending}", partial(_memory, said.content), len(said.content)
    )


def _memory(content: bytes) -> AbstractContextManager[BinaryIO]:
    return io.BytesIO(content)
