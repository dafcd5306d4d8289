"""Features: declared once, read as of a moment for training, kept at hand for serving, compared between the two.

- `features`: the room; what `features apply`, `history`, `materialize`, `get`, `parity` call
- `reader`: several views made ready for many questions, such as every day of a replay
- `rows`: the rows of a view, computed by DuckDB from its datasets
- `timeline`: those rows in the order they became known, and what was known at a moment
- `windows`: numbers over windows of a timeline
- `keys`: entities as small numbers
- `online`: the embedded online store
- `parity`: logged values against recomputed ones
"""
