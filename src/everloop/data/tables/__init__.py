"""Tables in files.

- `parquet`: as Everloop writes it, and what the columns of a file are; `formats`: which files are tables
- `csv_files`, `json_files`: as users have them, read whole or refused with the line
- `scanning`: a version as one table to pyarrow and DuckDB; `file_contents`, `file_cache`: where its bytes come from
- `row_digests`: one digest for the rows, whatever their order; `column_types`: whether a column is of a named type
"""
