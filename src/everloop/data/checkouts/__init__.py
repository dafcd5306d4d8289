"""Versions as files in a folder.

- `checking_out`: written there, and what was changed since
- `linking`: by clone, hard link or copy
"""
