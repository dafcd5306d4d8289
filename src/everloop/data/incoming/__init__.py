"""What comes in, from the first look at it to a version in the ledger.

- `adding`: making a version, whole or not at all
- `sources`: whatever it is (path, table, query, address) as files and tables; `addresses`: files that
  fsspec reaches; `queries`: answers of databases
- `folders`: which files a folder holds; `stat_index`: which of them look as they did when they were last read
"""
