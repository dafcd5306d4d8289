"""Results of steps go from one workspace to another, so that what a colleague or CI computed is not computed again.

- `room`: the operations by which a workspace gives results away and takes them in
- `shelves`: results in a store without a ledger
- `moving`: from one place to another
- `given`: the runs that go along, which say who computed a result, when and from what
"""
