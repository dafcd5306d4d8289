"""Dataset versions: added, compared, checked, read without a checkout.

- `data`: the room; `dataset`: the handle on one version; `records`: versions in the ledger; `overviews`: datasets at a glance
- `incoming`: from a path, a table, a query or an address to a version; `tables`: tables in files, read as needed
- `checkouts`: versions as files in a folder
- `checks`: checks, contracts, quarantine; `profiles`: what columns are like; `differences`: what two versions differ in
- `stores`: push and pull, freeing bytes, healing
- `labels`: a room of its own, labelling rows of versions
"""
