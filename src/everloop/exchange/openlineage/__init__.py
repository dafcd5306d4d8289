"""Runs as OpenLineage events, for catalogues that collect lineage from many tools.

`events` is the mapping (pure), `gathering` asks a workspace what an event needs, `exporting` writes them to a file or an address.
"""
