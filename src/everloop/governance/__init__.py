"""Who may do what, and what was done.

- `operations`: the one definition of an operation, from which call, HTTP endpoint, client and permission come
- `rooms`: what every room is built on
- `identity`: who acts, roles and what they permit, tokens
- `audit`: the feed of events and its verification
"""
