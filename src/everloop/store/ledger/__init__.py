"""The ledger: one transaction changes state *and* appends its events. SQLite (WAL) or Postgres, by URL."""

from everloop.store.ledger.changes import insert_for
from everloop.store.ledger.ledger import Ledger, open_ledger
from everloop.store.ledger.transaction import Reader, Transaction

__all__ = ["Ledger", "Reader", "Transaction", "insert_for", "open_ledger"]
