"""The same operations over HTTP, and the workspace a program works in without naming it.

- `remote`: a workspace behind a server
- `transport`: requests, retries, errors as they came
- `ambient`: the workspace of this process
- `runs`, `handles`: what users type as `ev.start_run`, `ev.data`, `ev.model`
- `retraining`: the process in which the loop trains; it opens a workspace, which the loop cannot
"""
