"""Model versions: where they came from, what they must show, which of them is meant by a name.

- `registry`: the room
- `version`: the handle on one version: answer, package
- `packaging`: a model's files on disk, and packages that stand alone
- `evaluation`: several models on the same rows
- `comparing`: which version is the good one
- `gating`: gathers the evidence that gates decide by
- `cards`: the model card, written from the ledger
"""
