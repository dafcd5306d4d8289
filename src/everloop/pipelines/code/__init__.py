"""What a step's result depends on in code: its own, and all of the project's that it can reach.

- `normal`: code as text without comments, docstrings and formatting
- `scopes`: which outer names a piece of code uses
- `source`: one module, cut into the statements that bind its names
- `origins`: whether a module is the project's, a package's or Python's own
- `packages`: which distribution a module belongs to, its version and what it requires
- `memory`: functions and values as they are in this process
- `passages`: the text behind a part of a key, and how it differs between two states of its file
- `project`: its modules during one walk, and what they are called
- `text_walk`, `memory_walk`: the walk from name to name, in texts and in this process; `findings`: what it gathers
- `entry`: which function a key is for
- `closure`: what was found, remembered until something of it changes
"""
