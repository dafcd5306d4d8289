"""Features as they were known at a moment.

- `reader`: several views made ready for many questions; `selection`: from what is asked to what has to be read
- `rows`: the rows of a view; `timeline`: in the order they became known; `keys`: entities as numbers
- `windows`, `distinct`: numbers over windows of rows, exact
"""
