"""Views computed at the request, the same for one row and for a million.

- `computing`: a view at work; `composed`: views that need other views
- `functions`: Python functions kept with all they need; `sql_rules`: what an expression may say
"""
