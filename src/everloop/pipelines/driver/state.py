"""What all parts of the driver know of one run."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from everloop.domain.pipelines import KeyParts, StepRecord
from everloop.domain.runs import Captured
from everloop.engine.contract import Executor
from everloop.governance.rooms import Context
from everloop.pipelines.datasets import Newest
from everloop.pipelines.graph import Graph, Node
from everloop.pipelines.keys import Keys
from everloop.pipelines.patience import patient
from everloop.pipelines.steps import Pipeline

if TYPE_CHECKING:
    from everloop.pipelines.pipelines import Pipelines


@dataclass(eq=False)
class RunState:
    """One run: what it was asked for, which steps it has, and how it goes.

    room: the ledger's side, waited for while it is away. run_id: empty in a dry run. first_run: the one at the beginning of those
    that go on with each other. running: nodes at work, by job. parts: what each node's key was made from. failure: what failed
    first. stopping: nothing new begins.
    """

    room: Pipelines
    context: Context
    pipeline: Pipeline[..., Any]
    root: Path
    executor: Executor
    newest: Newest
    dry_run: bool
    force: bool
    on_step: Callable[[StepRecord], None] | None = None
    stop: Callable[[Sequence[str]], str] | None = None

    run_id: str = ""
    first_run: str = ""
    experiment: str = ""
    captured: Captured = field(default_factory=Captured)
    graph: Graph = field(default_factory=Graph)
    running: dict[str, Node] = field(default_factory=dict)
    parts: dict[int, KeyParts] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    failure: str = ""
    stopping: bool = False

    def __post_init__(self) -> None:
        self.room = patient(self.room)
        self.objects = patient(self.context.objects)
        self.keys = Keys(self.root)
        self.logs = Path(tempfile.mkdtemp(prefix="everloop-logs-"))

    @property
    def at_work(self) -> list[str]:
        """The names of the steps that are being executed."""
        return [node.name for node in self.running.values()]

    @property
    def begins_nothing(self) -> bool:
        """Whether the run only waits for what is at work."""
        return bool(self.failure) or self.stopping
