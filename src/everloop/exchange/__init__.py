"""Stores of other tools, in and out.

A reader of a foreign format is a pure module: folder, database or address in, records of `everloop.domain.adoption` out
(`source.Source`). One writer, `bringing.bring_in`, puts what any reader says into a workspace by the rooms' operations, so it
works the same beside the ledger and through a server. Importing this package imports none of them.
"""
