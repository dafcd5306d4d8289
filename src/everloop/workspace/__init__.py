"""The object a user holds: the only place that chooses backends from a profile.

- `locations`: which folder or server a workspace is
- `settings`: reading `everloop.toml`
- `workspace`: the rooms as attributes, local or remote alike
- `local`: a workspace over a folder
"""
