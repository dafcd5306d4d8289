"""What was logged when a model answered, against history.

- `comparing`: which columns differ, in how many rows, since when
- `causes`, `moments`: what a difference looks like
"""
