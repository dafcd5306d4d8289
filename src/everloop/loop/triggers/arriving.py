"""Files that arrive: which there are, and whether they have stopped growing.

Only the machine that has the files looks at them. What was there at the first look is not new. A file counts when it was the same
at an earlier look, and once more when it is written anew.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from everloop.domain.canonical import sha256
from everloop.domain.times import micros, require_zone
from everloop.domain.triggers import FilesArrive, is_active
from everloop.governance.identity import Permission
from everloop.governance.operations import operation
from everloop.governance.rooms import Room
from everloop.loop.triggers.declaring import declaration_of, locked, new_firing, over
from everloop.loop.triggers.records import FileSeen
from everloop.store.schema.triggers import firings, trigger_files, triggers

if TYPE_CHECKING:
    from everloop.store.ledger import Transaction

MOST_FILES = 10_000


class ArrivedFiles(Room):
    """Looks at files, as the ledger remembers them."""

    name = "loop"

    @operation(Permission.READ)
    def file_patterns(self) -> dict[str, str]:
        """The patterns of files that are waited for, by trigger."""
        with self.look() as look:
            declared = {row.name: declaration_of(row).on for row in look.all(sa.select(triggers))}
        return {name: on.pattern for name, on in declared.items() if isinstance(on, FilesArrive)}

    @operation(Permission.WRITE)
    def see_files(self, trigger: str, files: list[FileSeen], now: datetime) -> int:
        """What a look at a trigger's files found, of all that its pattern names. Those that are as they were at an earlier look
        have arrived: each is a firing. Returns how many are new."""
        moment = require_zone(now, "the time")
        with self.change() as tx:
            row = locked(tx, trigger)
            if row.looked is not None and row.looked >= moment:
                return 0
            of_trigger = trigger_files.c.trigger == row.name
            before = {each.path: each for each in tx.all(sa.select(trigger_files).where(of_trigger))}
            made = 0
            for each in files:
                known = before.pop(each.path, None)
                same = known is not None and (known.size, known.modified) == (each.size, each.modified)
                if known is not None and same and known.arrived:
                    continue
                if same:
                    made += self._arrived(tx, row, each)
                facts = {"size": each.size, "modified": each.modified}
                seen = known.seen if known is not None and same else moment
                state = {"seen": seen, "arrived": same or row.looked is None}
                tx.put(trigger_files, {"trigger": row.name, "path": each.path, **facts, **state})
            if before:
                gone = of_trigger & trigger_files.c.path.in_(list(before))
                tx.execute(sa.delete(trigger_files).where(gone))
            tx.execute(sa.update(triggers).where(triggers.c.name == row.name).values(looked=moment))
            return made

    def _arrived(self, tx: "Transaction", row: sa.Row[tuple[object]], file: FileSeen) -> int:
        declared = declaration_of(row)
        if not is_active(declared, tx.now):
            return 0
        firing = new_firing(
            self.context.ids(),
            declared,
            tx.now,
            tx.now,
            key=f"file:{sha256(file.path.encode())[:32]}:{file.size}:{micros(file.modified)}",
            cause=f"{file.path} has arrived ({file.size:,} bytes)",
            facts={"file": file.path},
            not_before=tx.now,
        )
        if row.paused is not None:
            firing |= over(tx.now, f"paused by {row.paused_by}")
        made = tx.insert_new(firings, firing)
        if made:
            said = {name: firing[name] for name in ("key", "cause", "params", "status", "reason")}
            tx.event("trigger.fired", f"trigger:{row.name}", {"firing": firing["id"], **said})
        return made


def files_at(pattern: str, project: Path) -> list[FileSeen]:
    """The files that a pattern names now, relative to the project where they are inside."""
    found = []
    for path in _named(pattern, project):
        try:
            status = path.stat()
        except OSError:  # gone since it was listed
            continue
        shown = path.relative_to(project).as_posix() if path.is_relative_to(project) else str(path)
        modified = datetime.fromtimestamp(status.st_mtime_ns // 1000 / 1e6, UTC)
        found.append(FileSeen(shown, status.st_size, modified))
        if len(found) == MOST_FILES:
            break
    return sorted(found, key=lambda each: each.path)


def _named(pattern: str, project: Path) -> Iterator[Path]:
    given = Path(pattern).expanduser()
    base = Path(given.anchor) if given.is_absolute() else project
    rest = given.relative_to(given.anchor) if given.is_absolute() else given
    return (path for path in base.glob(str(rest)) if path.is_file())
