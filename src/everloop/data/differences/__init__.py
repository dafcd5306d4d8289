"""What differs between two versions.

- `diffing`: files, columns, rows, distributions, in this order
- `comparing`: rows by key or by content
- `distributions`: how far columns have moved
"""
