"""The ledger: one transaction changes state *and* appends its events. SQLite (WAL) or Postgres, by URL."""

from everloop.store.ledger.ledger import Ledger, Reader, Transaction, insert_for, open_ledger

__all__ = ["Ledger", "Reader", "Transaction", "insert_for", "open_ledger"]
