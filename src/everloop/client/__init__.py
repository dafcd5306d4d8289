"""The same operations over HTTP, and the workspace a program works in without naming it.

- `remote`: a workspace behind a server
- `transport`: requests, retries, errors as they came
- `ambient`: the workspace of this process
"""
