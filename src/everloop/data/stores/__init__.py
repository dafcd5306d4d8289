"""Bytes of versions across stores.

- `transferring`: versions to and from another workspace, a server or a `shelves` shelf
- `collecting`: retention, and freeing bytes that nothing needs
- `mending`: looking for damage, and healing it
"""
