"""Code that is not as it was, for reading: files with the lines that changed, which `everloop.tracking.differences` finds."""

from __future__ import annotations

import msgspec

from everloop.domain.differences import FileChange
from everloop.errors import EverloopError
from everloop.tracking.capture import Code
from everloop.tracking.differences import Committed, Tree, code_change
from everloop.workspace.workspace import Workspace

MOST_FILES, MOST_LINES = 60, 600


class Line(msgspec.Struct, frozen=True):
    """A line of a difference. `kind`: ``+``, ``-``, a blank for one that stayed, ``@`` for the place of a stretch."""

    kind: str
    text: str


class FileLines(msgspec.Struct, frozen=True):
    """A file that is not as it was. `how`: added, changed, removed, or ``as it was`` where what it was before is not at hand."""

    path: str
    how: str
    lines: list[Line]
    added: int = 0
    removed: int = 0
    note: str = ""


def since_commit(workspace: Workspace, found: Code) -> list[FileLines]:
    """The files of a work tree that were not as committed. What was committed is asked of the project's own repository, where
    that has the commit; else the whole files are shown."""
    repository = Committed(workspace.project)
    at_hand = bool(found.commit) and repository.has(found.commit)
    plain = msgspec.structs.replace(found, files=[], deleted=[])
    before, after = (Tree(each, workspace.objects, repository) for each in (plain, found))
    try:
        changed = code_change(before, after, repository).files
    except EverloopError:  # a kept file is gone; `audit verify` names it
        return []
    lines = file_lines(changed)
    return lines if at_hand else [msgspec.structs.replace(each, how="as it was") for each in lines]


def file_lines(changes: list[FileChange]) -> list[FileLines]:
    """Unified differences as lines to be coloured, without their heads.

    >>> diff = "--- a/x\\n+++ b/x\\n@@ -1 +1 @@\\n-lr = 1\\n+lr = 2\\n"
    >>> file = file_lines([FileChange("x", "changed", diff)])[0]
    >>> [(line.kind, line.text) for line in file.lines], file.added, file.removed
    ([('@', '@@ -1 +1 @@'), ('-', 'lr = 1'), ('+', 'lr = 2')], 1, 1)
    """
    found = []
    for each in changes[:MOST_FILES]:
        texts = each.diff.splitlines()[2:]
        lines = [Line("@", text) if text[:2] == "@@" else Line(text[:1] or " ", text[1:]) for text in texts]
        cut = f"the first {MOST_LINES} of {len(lines):,} lines" if len(lines) > MOST_LINES else ""
        added, removed = (sum(line.kind == kind for line in lines) for kind in "+-")
        found.append(FileLines(each.path, each.change, lines[:MOST_LINES], added, removed, each.note or cut))
    return found
