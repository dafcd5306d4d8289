"""Features: declared once, read as of a moment for training, kept at hand for serving, compared between the two.

- `features`: the room; what `features apply`, `history`, `materialize`, `get`, `parity` call
- `reader`: several views made ready for many questions, such as every day of a replay
- `rows`: the rows of a view, computed by DuckDB from its datasets
- `timeline`: those rows in the order they became known, and what was known at a moment
- `windows`: numbers over windows of a timeline
- `keys`: entities as small numbers
- `online`: what an online store is, and how values are packed; `sqlite_store` the embedded one, `redis_store` the shared one
- `at_hand`: filling it and reading it; `asking`: questions resolved once; `pushing`: rows from streams; `lists`: named lists;
  `served`: stored features and those on demand in one answer
- `parity`: logged values against recomputed ones
"""
