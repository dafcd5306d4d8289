"""What a change would touch before it is made: steps, data, features, runs, models, endpoints, and what computing anew costs.

`changed` reads what somebody means to change, `newest` what the ledger knows of the results as they are now, `spreading` follows
the one through the other (a pure rule), `room` is the operation, `edits` finds what a work tree changed.
"""
