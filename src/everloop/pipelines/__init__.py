"""Pipelines: plain functions whose results are kept, computed again exactly when something they depend on changed.

- `steps`: `@step`, `@pipeline`, and the references that calls return inside a pipeline
- `kinds`: steps in SQL, shell and notebooks; `environments`: packages of a step's own; `secrets`: given, never kept
- `code`: everything a step's behaviour depends on, found by itself
- `values`: what may pass between steps, and how it is stored and compared
- `changed`: the text of what made a step run again
- `locating`: which pipeline is meant; `driver`: its run from the first call to the last: the loop, claims, records, retries;
  `interrupting`: Ctrl-C meanwhile; `outcome`: what came of it
- `sweeps`: a search over the parameters of a pipeline
- `worker`: one step, in this process or another one
- `pipelines`: the room: what the ledger knows of runs, results and claims
- `reproduce`: rebuilding a result elsewhere, and how equal it came out
"""
