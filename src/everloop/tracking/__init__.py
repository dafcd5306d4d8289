"""The tracking room: experiments and runs, what they logged, and how one finds them again.

Recording, where the user's code runs:

- `run`: the handle that a training script holds (`Run.log_metric`, `Run.log_model`, `Run.checkpoint` …)
- `capture`: code, packages, machine and command at the start of a run, and restoring the code
- `records`, `shipping`: the journal of a run, and bringing it into the ledger
- `checkpoints`: saved states as bytes
- `places`: which process writes a run, and whether it still lives

Keeping and finding, beside the ledger:

- `tracking`: the operations
- `writing`: what they change; `arrivals`: what a shipment of records does
- `blocks`: points of a metric as columns, and their summaries
- `searching`: runs along indexes; `conditions`: the search language (`everloop.domain.search`) as SQL; `paging`: their pages
- `reading`: rows as records
- `finding`: operations over many runs: `grouping` with intervals, saved views; `columns`: what a name means
- `comparing`: runs side by side; `differences`: code, data, environment of two runs

Out again: `frames` (Arrow and pandas), `exporting` (CSV, JSON, Parquet).
"""
