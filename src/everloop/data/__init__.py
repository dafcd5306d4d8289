"""Dataset versions: added, compared, checked, read without a checkout.

- `data`: the room; what `data add`, `log`, `diff`, `check`, `checkout` call
- `dataset`: the handle on one version that users read through
- `folders`: which files a folder holds, and noticing when they change
- `tables`: Parquet as Everloop writes it; what the columns of a file are
- `scanning`: a version as one table to pyarrow and DuckDB, read from the object store as needed
- `checking`: checks compiled to as few scans as possible
- `differences`, `comparing`: what differs between two versions: files and columns; rows and their cells
- `profiles`: profiles kept with versions; `profiling` makes sketches of tables, `summaries` profiles of sketches, `shifts`
  compares them, `datasheets` writes them down
- `overviews`: all datasets at a glance
- `checkouts`: versions as files in a folder, and what was changed there
"""
