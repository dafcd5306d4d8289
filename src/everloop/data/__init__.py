"""Dataset versions: added, compared, checked, read without a checkout.

- `data`: the room; what `data add`, `log`, `diff`, `check`, `checkout` call
- `dataset`: the handle on one version that users read through
- `folders`: which files a folder holds, and noticing when they change
- `tables`: Parquet as Everloop writes it; what the columns of a file are
- `scanning`: a version as one table to pyarrow and DuckDB, read from the object store as needed
- `checking`: checks compiled to as few scans as possible
- `comparing`: rows that differ between two versions
- `checkouts`: versions as files in a folder, and what was changed there
"""
