"""Features: declared once, read as of a moment for training, kept at hand for serving, compared between the two.

- `features`: the room; what `features apply`, `history`, `materialize`, `get`, `parity` call
- `definitions`: views on their way into the ledger; `plans`: what that changes and costs; `places`: where a file declares them
- `records`: what is kept of views beside that: what work took, `statistics`, reports of parity
- `selection`: from features as they are asked for to what has to be read and computed
- `on_demand`: features of a request; `composed`: a reader with some of those; `sql_rules`: what SQL may say in them;
  `functions`: recorded Python; `apart`: that in a child; `types`: declared types held against values
- `reader`: several views made ready for many questions, such as every day of a replay
- `rows`: the rows of a view, computed by DuckDB from its datasets
- `timeline`: those rows in the order they became known, and what was known at a moment
- `windows`: numbers over windows of a timeline; `distinct`: how many different values
- `keys`: entities as small numbers
- `online`: what an online store is, and how values are packed; `sqlite_store` the embedded one, `redis_store` the shared one
- `at_hand`: filling it and reading it; `asking`: questions resolved once; `pushing`: rows from streams; `lists`: named lists;
  `served`: stored features and those on demand in one answer
- `parity`: logged values against recomputed ones; `causes`, `moments`: what a difference looks like
"""
