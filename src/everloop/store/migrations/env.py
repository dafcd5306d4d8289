"""Alembic's entry: the connection comes from `everloop.store.ledger.versions`, never from a configuration file."""

from alembic import context

from everloop.store.schema import complete

context.configure(
    connection=context.config.attributes["connection"], target_metadata=complete(), render_as_batch=True
)
with context.begin_transaction():
    context.run_migrations()
