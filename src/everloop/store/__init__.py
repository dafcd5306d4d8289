"""Where things rest: the ledger (what is known), objects (bytes), the journal (telemetry on its way).

- `schema`: the ledger's tables, one module a room
- `ledger`: transactions that change state and append events; SQLite and Postgres
- `objects`: content-addressed bytes; a local folder or S3
- `journal`: append-only framed files that survive a kill
"""
