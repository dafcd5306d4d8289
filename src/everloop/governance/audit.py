"""The governance room: the feed of events and its verification, definitions as data, tokens."""

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import msgspec
import sqlalchemy as sa

from everloop.domain.canonical import digest_of, sha256
from everloop.domain.events import Anchor, Event
from everloop.domain.names import checked_name
from everloop.errors import Corrupted, NotFound, Refused, Unauthenticated, nearest
from everloop.governance.anchors import append_anchor, read_anchors
from everloop.governance.chain import AuditFault, ChainFaults, anchor_faults, anchor_of, walk
from everloop.governance.identity import Actor, Permission, Role, current_actor
from everloop.governance.operations import operation
from everloop.governance.rooms import Room
from everloop.store.schema.base import definitions, tokens


class Definition(msgspec.Struct, frozen=True):
    """What user code declared, as data. `source` is the text it was declared in, empty where it is not known."""

    kind: str
    name: str
    version: int
    digest: str
    declaration: dict[str, Any]
    source: str
    created: datetime


class AuditReport(msgspec.Struct, frozen=True):
    """The result of walking the chain of events, the rows it binds, and every stored object."""

    ok: bool
    events: int
    seals: int
    rows: int
    objects: int
    faults: list[AuditFault]


class Token(msgspec.Struct, frozen=True):
    """A key to a server, without its secret."""

    id: str
    user: str
    role: Role
    created: datetime
    revoked: datetime | None


class NewToken(msgspec.Struct, frozen=True):
    """A fresh token; `secret` is shown this once and kept nowhere."""

    id: str
    user: str
    role: Role
    secret: str


class Governance(Room):
    """Who did what, whether the record still holds, and who may come in."""

    name = "governance"

    @operation(Permission.READ)
    def log(
        self,
        after: int = 0,
        before: int | None = None,
        limit: int = 100,
        actions: list[str] = [],  # noqa: B006  (msgspec copies defaults)
        subject: str | None = None,
        newest_first: bool = False,
    ) -> list[Event]:
        """Events in order. `actions` may end in ``.*`` to take a whole room; `after` and `before` are event numbers."""
        return self.context.ledger.events(
            after=after,
            before=before,
            limit=min(max(limit, 0), 10_000),
            actions=actions,
            subject=subject,
            newest_first=newest_first,
        )

    @operation(Permission.READ)
    def whoami(self) -> Actor:
        """Who the workspace takes the caller for."""
        return current_actor()

    @operation(Permission.READ)
    def anchor(self) -> Anchor:
        """How far the ledger has come, to be kept elsewhere: `verify` proves later that the ledger still goes on from there."""
        with self.context.ledger.snapshot() as look:
            return anchor_of(look, self.context.clock())

    @operation(Permission.READ)
    def anchored(self, anchors: list[Anchor]) -> list[AuditFault]:
        """Whether the ledger goes on from these anchors, by what it has written down: the first that does not hold. Quick;
        `verify` computes every digest again."""
        with self.context.ledger.snapshot() as look:
            return anchor_faults(look, anchors)

    @operation(Permission.READ)
    def verify(self, anchors: list[Anchor] = []) -> AuditReport:  # noqa: B006  (msgspec copies defaults)
        """Walk the chain of events, its seals, the rows it binds, and every stored object; name everything that does not match.
        With anchors, also whether the chain goes on from each."""
        faults: list[AuditFault] = []
        walked, rows, ledger = ChainFaults([], {}), 0, self.context.ledger
        with self._damage_named(faults), ledger.snapshot() as look:
            walked = walk(look)
            faults += walked.faults + anchor_faults(look, anchors)
        with self._damage_named(faults):
            rows, found = ledger.state_faults()
            faults += [AuditFault(place, message) for place, message in found]
        with self._damage_named(faults):
            faults += self._object_faults()
        return AuditReport(
            ok=not faults,
            events=len(walked.digests),
            seals=walked.seals,
            rows=rows,
            objects=sum(1 for _ in self.objects.digests()),
            faults=faults,
        )

    @operation(Permission.WRITE)
    def record_definition(
        self, kind: str, name: str, declaration: dict[str, Any], source: str = ""
    ) -> Definition:
        """Keep what user code declared. The same declaration again is the same version; another one is the next."""
        checked_name(name, f"{kind} name")
        digest = digest_of(declaration)
        with self.change() as tx:
            latest = tx.first(_latest(kind, name))
            if latest is not None and latest.digest == digest:
                return Definition(**latest._mapping)
            version = latest.version + 1 if latest is not None else 1
            row = {
                "kind": kind,
                "name": name,
                "version": version,
                "digest": digest,
                "declaration": declaration,
                "source": source,
                "created": tx.now,
            }
            tx.execute(sa.insert(definitions).values(row))
            tx.event(f"{kind}.defined", f"{kind}:{name}", {"version": version, "digest": digest})
        return Definition(**row)  # type: ignore[arg-type]

    @operation(Permission.READ)
    def definitions(self, kind: str) -> list[Definition]:
        """The newest version of every definition of a kind, by name."""
        newest = sa.select(definitions.c.name, sa.func.max(definitions.c.version).label("version")).where(
            definitions.c.kind == kind
        )
        newest_of = newest.group_by(definitions.c.name).subquery()
        query = (
            sa.select(definitions)
            .join(
                newest_of,
                sa.and_(definitions.c.name == newest_of.c.name, definitions.c.version == newest_of.c.version),
            )
            .where(definitions.c.kind == kind)
            .order_by(definitions.c.name)
        )
        with self.look() as look:
            return [Definition(**row._mapping) for row in look.all(query)]

    @operation(Permission.READ)
    def definition(self, kind: str, name: str, version: int | None = None) -> Definition:
        """One definition, the newest version unless another is named."""
        query = (
            _latest(kind, name)
            if version is None
            else _latest(kind, name).where(definitions.c.version == version)
        )
        with self.look() as look:
            row = look.first(query)
            if row is None:
                known = look.all(sa.select(definitions.c.name).where(definitions.c.kind == kind).distinct())
                which = f"'{name}'" if version is None else f"'{name}' at version {version}"
                raise NotFound(
                    f"no {kind} is called {which}", hint=nearest(name, [each.name for each in known])
                )
        return Definition(**row._mapping)

    @operation(Permission.ADMIN)
    def create_token(self, user: str, role: Literal["viewer", "engineer", "owner"] = "engineer") -> NewToken:
        """Make a token for a person or a service. Its secret is in the answer and nowhere else."""
        checked_name(user, "user name")
        secret = "ever_" + secrets.token_urlsafe(32)
        identifier = self.context.ids()
        with self.change() as tx:
            row = {
                "id": identifier,
                "digest": sha256(secret.encode()),
                "user": user,
                "role": role,
                "created": tx.now,
            }
            tx.execute(sa.insert(tokens).values(row))
            tx.event("token.created", f"token:{identifier}", {"user": user, "role": role})
        return NewToken(identifier, user, Role(role), secret)

    @operation(Permission.ADMIN)
    def tokens(self) -> list[Token]:
        """All tokens, also revoked ones, oldest first."""
        columns = [tokens.c.id, tokens.c.user, tokens.c.role, tokens.c.created, tokens.c.revoked]
        with self.look() as look:
            rows = look.all(sa.select(*columns).order_by(tokens.c.created))
        return [Token(row.id, row.user, Role(row.role), row.created, row.revoked) for row in rows]

    @operation(Permission.ADMIN)
    def revoke_token(self, id: str) -> Token:
        """A revoked token opens nothing any more."""
        with self.change() as tx:
            row = tx.first(sa.select(tokens).where(tokens.c.id == id))
            if row is None:
                raise NotFound(f"no token has the identifier '{id}'", hint="see: everloop token list")
            if row.revoked is None:
                tx.execute(sa.update(tokens).where(tokens.c.id == id).values(revoked=tx.now))
                tx.event("token.revoked", f"token:{id}", {"user": row.user})
            revoked = row.revoked or tx.now
        return Token(row.id, row.user, Role(row.role), row.created, revoked)

    @contextmanager
    def _damage_named(self, faults: list[AuditFault]) -> Iterator[None]:
        """A database that cannot even be read to its end is a fault like others."""
        try:
            yield
        except Corrupted as error:
            faults.append(AuditFault(self.context.ledger.url, error.message))

    def _object_faults(self) -> list[AuditFault]:
        held: dict[str, str] = {}
        for digest, holder, _ in self.context.ledger.held_objects():
            if re.fullmatch("[0-9a-f]{64}", digest):  # a damaged one is in a row that is named already
                held.setdefault(digest, holder)
        faults, broken = [], set()
        for fault in self.objects.verify():
            broken.add(fault.digest or "")
            needed = f"; needed by {held[fault.digest]}" if fault.digest in held else ""
            faults.append(AuditFault(fault.place, fault.message + needed))
        return faults + [
            AuditFault(f"object {digest}", f"is missing; needed by {held[digest]}")
            for digest in sorted(self.objects.missing(held) - broken)
        ]

    def keep_anchor(self, path: Path) -> Anchor:
        """Append how far the ledger has come to a file. Refused when the ledger does not go on from what the file holds: a
        rewritten ledger must not be anchored as if nothing had happened. A missing file is begun."""
        if path.exists() and (faults := self.anchored(read_anchors(path))):
            raise Refused(
                f"this ledger does not go on from {path}: {faults[0].place} {faults[0].message}",
                hint=f"see: everloop audit verify --anchor {path}",
            )
        anchor = self.anchor()
        append_anchor(path, anchor)
        return anchor

    def recognise(self, secret: str) -> Actor:
        """Who a token belongs to. For the server, which has the ledger at hand."""
        with self.look() as look:
            row = look.first(
                sa.select(tokens).where(
                    tokens.c.digest == sha256(secret.encode()), tokens.c.revoked.is_(None)
                )
            )
        if row is None:
            raise Unauthenticated(
                "the token is not known, or was revoked", hint="ask an owner for: everloop token create"
            )
        return Actor(row.user, Role(row.role))

    def has_tokens(self) -> bool:
        """Whether anyone needs a token here. For the server."""
        with self.look() as look:
            return look.first(sa.select(tokens.c.id).where(tokens.c.revoked.is_(None)).limit(1)) is not None


def _latest(kind: str, name: str) -> sa.Select[Any]:
    query = sa.select(definitions).where(definitions.c.kind == kind, definitions.c.name == name)
    return query.order_by(definitions.c.version.desc()).limit(1)
