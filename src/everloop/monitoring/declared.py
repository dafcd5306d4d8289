"""What is watched of an endpoint: its monitors, and how its labels arrive."""

import msgspec

from everloop.domain.canonical import digest_of
from everloop.domain.monitors import Monitor, Outcome
from everloop.governance.identity import Permission
from everloop.governance.operations import operation
from everloop.governance.rooms import Room


class DeclaredMonitors(Room):
    """The part of monitoring that keeps what is declared: monitors and outcomes."""

    name = "monitoring"

    @operation(Permission.WRITE)
    def declare(self, monitors: list[Monitor], outcomes: list[Outcome] | None = None) -> list[Monitor]:
        """Set the monitors (and the outcomes) of the endpoints they name; an endpoint's earlier monitors that
        are not among them are withdrawn. Declaring the same again changes nothing."""
        import sqlalchemy as sa

        from everloop.store.schema.monitoring import monitors as table
        from everloop.store.schema.monitoring import outcomes as outcomes_table

        with self.change() as tx:
            for endpoint in sorted({each.endpoint for each in monitors}):
                wanted = {
                    each.name: msgspec.to_builtins(each) for each in monitors if each.endpoint == endpoint
                }
                known = {
                    row.name: row.declaration
                    for row in tx.all(
                        sa.select(table.c.name, table.c.declaration).where(table.c.endpoint == endpoint)
                    )
                }
                if digest_of(wanted) == digest_of(known):
                    continue
                tx.execute(sa.delete(table).where(table.c.endpoint == endpoint))
                for name, declaration in wanted.items():
                    tx.put(
                        table,
                        {"endpoint": endpoint, "name": name, "declaration": declaration, "declared": tx.now},
                    )
                tx.event("monitoring.declared", f"endpoint:{endpoint}", {"monitors": sorted(wanted)})
            for outcome in outcomes or []:
                row = {
                    "endpoint": outcome.endpoint,
                    "declaration": msgspec.to_builtins(outcome),
                    "declared": tx.now,
                }
                same = tx.scalar(
                    sa.select(outcomes_table.c.declaration).where(
                        outcomes_table.c.endpoint == outcome.endpoint
                    )
                )
                if same is None or digest_of(same) != digest_of(row["declaration"]):
                    tx.put(outcomes_table, row)
                    tx.event(
                        "monitoring.outcome_declared", f"endpoint:{outcome.endpoint}", row["declaration"]
                    )
        return self.monitors()

    @operation(Permission.READ)
    def monitors(self, endpoint: str = "") -> list[Monitor]:
        """The declared monitors, of one endpoint or of all."""
        from everloop.monitoring.rows import monitors_of

        with self.look() as look:
            return monitors_of(look, endpoint)

    @operation(Permission.READ)
    def outcome(self, endpoint: str) -> Outcome:
        """How the endpoint's labels arrive: as declared, or the defaults."""
        from everloop.monitoring.rows import outcome_of

        with self.look() as look:
            return outcome_of(look, endpoint)
