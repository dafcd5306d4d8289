"""Commands of governance: audit log / verify / anchor, token create / list / revoke."""

from __future__ import annotations

from pathlib import Path

import click

from everloop.cli.frame import answer_no, command, emit, table, workspace


@click.group()
def audit() -> None:
    """The chain of events, and whether it still holds."""


@command()
@click.option("--after", type=int, default=0, help="Only events with a greater number.")
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="How many, newest first."
)
@click.option(
    "--action",
    "actions",
    multiple=True,
    help="Only this action, such as model.promoted; room.* takes a whole room.",
)
@click.option("--subject", help="Only what happened to this reference.")
def log(after: int, limit: int, actions: tuple[str, ...], subject: str | None) -> None:
    """What happened, newest first."""
    found = workspace().governance.log(
        after=after, limit=limit, actions=list(actions), subject=subject, newest_first=True
    )
    columns = ["#", "time", "who", "what", "subject"]
    emit(
        {"events": found},
        lambda value: table(
            columns, [(e.seq, e.time, e.actor, e.action, e.subject) for e in value["events"]], right=["#"]
        ),
    )


@command()
@click.option(
    "--anchor",
    "file",
    type=click.Path(path_type=Path),
    help="Also prove that the ledger goes on from the anchors in this file.",
)
def verify(file: Path | None) -> None:
    """Walk the chain, the rows of all tables and every object; name every fault. Exit code 1 when there is one."""
    anchors = []
    if file is not None:
        from everloop.governance.anchors import read_anchors

        anchors = read_anchors(file)
    report = workspace().provenance.verify(anchors=anchors)

    def human(value: object) -> object:
        if report.ok:
            walked = (
                f"{report.events} events, {report.seals} seals, {report.rows} rows, {report.objects} objects"
            )
            return f"sound: {walked}" + (f"; goes on from {len(anchors)} anchors" if anchors else "")
        return table(["where", "what is wrong"], [(fault.place, fault.message) for fault in report.faults])

    emit(report, human)
    if not report.ok:
        answer_no()


@command()
@click.argument("file", type=click.Path(path_type=Path), required=False)
def anchor(file: Path | None) -> None:
    """How far the ledger has come, in one line of JSON: append it to FILE, or print it. Keep it where nobody who can write the
    workspace can; audit verify --anchor FILE proves later that nothing before it was rewritten."""
    room = workspace().governance
    if file is None:
        import msgspec

        emit(room.anchor(), lambda value: click.echo(msgspec.json.encode(value)))
    else:
        emit(
            room.keep_anchor(file),
            lambda value: f"{file}: anchored at event {value.events}, {value.time:%Y-%m-%d %H:%M:%S} UTC",
        )


@click.group()
def token() -> None:
    """Keys to a server."""


@command()
@click.argument("user")
@click.option(
    "--role", type=click.Choice(["viewer", "engineer", "owner"]), default="engineer", show_default=True
)
def create(user: str, role: str) -> None:
    """Make a token. Its secret is shown this once: put it into EVERLOOP_TOKEN."""
    made = workspace(write=True).governance.create_token(user, role)  # type: ignore[arg-type]
    emit(made, lambda value: f"token {value.id} for {value.user} ({value.role})\n{value.secret}")


@command("list")
def list_() -> None:
    """All tokens, without their secrets."""
    found = workspace().governance.tokens()
    rows = [(each.id, each.user, each.role.value, each.created, each.revoked or "") for each in found]
    empty = "no tokens yet; make one: everloop token create"
    emit({"tokens": found}, lambda _: table(["id", "user", "role", "created", "revoked"], rows, empty=empty))


@command()
@click.argument("id")
def revoke(id: str) -> None:
    """A revoked token opens nothing any more."""
    emit(workspace().governance.revoke_token(id), lambda value: f"revoked the token of {value.user}")


for each in (log, verify, anchor):
    audit.add_command(each)
for each in (create, list_, revoke):
    token.add_command(each)
