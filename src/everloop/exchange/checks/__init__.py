"""Checks that were written for other tools, read as our own.

- ``opening``             any file or definition of checks, ours or others'
- ``pandera``             DataFrameSchema and DataFrameModel, of pandas and polars
- ``great_expectations``  suites as JSON, of Great Expectations 0.18 and 1.x
- ``translating``         what both need: names, values, regular expressions, and a place for what cannot be said

What cannot be translated becomes a check that is never passed, so that nobody takes silence for a yes.
"""
