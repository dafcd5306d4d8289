"""Steps that are not written as Python functions.

- `declaring`: such a step: declared by its content rather than by decorating a function
- `sql`: a query over tables and dataset versions (DuckDB)
- `shell`: a command that reads and writes files; `files`: what passes between commands and other steps
- `notebook`: a notebook's cells, run one after another; `cells` runs one and keeps what it shows
- `surroundings`: what a step has around it while it runs: its workspace and its secrets
"""
