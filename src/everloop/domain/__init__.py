"""Frozen types and pure rules: no input or output, no clock, no randomness of its own.

- `references`: the one grammar for all that can be named
- `names`: what a name may be
- `ids`: identifiers that sort in time
- `times`: instants, always UTC, in microseconds
- `events`: what happened, and the chain that keeps it honest
- `canonical`: one sequence of bytes for one value, so that digests mean something
"""
