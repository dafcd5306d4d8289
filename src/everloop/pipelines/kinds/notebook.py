"""A notebook as a step: parameters in, named variables out, and the notebook as it was run as a file of the step's run.

report = ev.notebook_step("analysis.ipynb", outputs=("score", "table"))

report(rows=1000)["score"]
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Unpack

from everloop.domain.canonical import digest_of
from everloop.domain.pipelines import Component
from everloop.errors import Failed, nearest
from everloop.pipelines.code.described import Description
from everloop.pipelines.code.normal import digest_of_code
from everloop.pipelines.code.source import ModuleSource
from everloop.pipelines.kinds.cells import Execution, Notebook, read_notebook
from everloop.pipelines.kinds.declaring import ContentStep
from everloop.pipelines.kinds.scripts import with_those_beside
from everloop.pipelines.places import Place, relative
from everloop.pipelines.steps import StepSettings
from everloop.tracking.run import active_run
from everloop.tracking.secrets import text_mask


def notebook_step(
    path: str, /, *, outputs: str | Sequence[str] = (), name: str = "", **settings: Unpack[StepSettings]
) -> ContentStep:
    """Declare a step that is a notebook beside the module.

    Its arguments are what the cell tagged ``parameters`` assigns; those that are not given keep the values written there. Its
    cells are run in order, in the step's process, as plain Python: no kernel, no Jupyter, none of IPython's commands.
    outputs: the variable whose value the step returns, or several, as a dict. The notebook with what its cells have shown is
    kept with the step's run under its own name. Outputs that are stored in the file are no part of what the step depends on.
    """
    place = Place(1)
    content = _Notebook(place.find(path), outputs)
    return ContentStep(content, place, name, settings, otherwise=Path(path).stem)


class _Notebook:
    """`Content` of a notebook step."""

    def __init__(self, path: Path, outputs: str | Sequence[str]) -> None:
        self._path, self._outputs = path, outputs
        self._read: Notebook | None = None

    @property
    def __signature__(self) -> inspect.Signature:
        kind = inspect.Parameter.KEYWORD_ONLY
        known = (self._read or self._again()).parameters
        return inspect.Signature(
            [inspect.Parameter(name, kind, default=_AsWritten(text)) for name, text in known.items()]
        )

    def described(self, root: Path) -> Description:
        notebook = self._again()
        label = relative(self._path, root)
        cells = [digest_of_code([*cell.tree.body]) for cell in notebook.cells]
        own = Component("notebook", label, digest_of([cells, self._outputs]))
        module = ModuleSource(self._path.resolve(), self._path.stem, "", notebook.text.encode())
        modules = tuple(with_those_beside(module, self._path.resolve().parent))
        return Description((own,), packages=("everloop",), modules=modules)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        notebook = self._read or self._again()
        execution = Execution(notebook, self.__signature__.bind(*args, **kwargs).arguments)
        try:
            with _importing_from(self._path.resolve().parent):
                names = execution.run()
        finally:
            run = active_run()
            if run is not None:
                text = json.dumps(execution.executed, indent=1, ensure_ascii=False)
                run.log_text(text_mask()(text), notebook.name)
        if isinstance(self._outputs, str):
            return self._value(self._outputs, names)
        return {each: self._value(each, names) for each in self._outputs} or None

    def _again(self) -> Notebook:
        self._read = read_notebook(self._path)
        return self._read

    def _value(self, name: str, names: dict[str, Any]) -> Any:
        if name not in names:
            raise Failed(f"{self._path.name} does not set '{name}'", hint=nearest(name, names))
        return names[name]


class _AsWritten:
    """The default of a parameter: what the notebook says."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


@contextmanager
def _importing_from(folder: Path) -> Iterator[None]:
    """Within the block, modules beside the notebook can be imported, as in Jupyter."""
    before = list(sys.path)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path[:] = before
