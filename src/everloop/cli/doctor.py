"""The command `doctor`."""

from __future__ import annotations

from everloop.cli.frame import answer_no, command, emit, table, workspace


@command()
def doctor() -> None:
    """Check this machine and workspace. Exit code 1 when something should be mended."""
    from everloop.workspace.doctor import examine

    checks = list(examine(workspace()))
    rows = [("ok" if each.ok else "MEND", each.name, each.message) for each in checks]
    emit({"checks": checks}, lambda _: table(["", "check", "seen"], rows))
    if not all(each.ok for each in checks):
        answer_no()
