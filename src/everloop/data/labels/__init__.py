"""Labelling: a queue of items, what people say of them, and the dataset that comes of it.

- `labels`: the room, made of the parts below
- `projects`: what a project is, its guidelines, how far it is
- `queue`: who is given which item next, answers, skips, undo
- `ordering`: in which order items are asked about
- `reviewing`: another person accepts, sends back or corrects
- `suggesting`: what models say of the items
- `judging`: agreement, and answers that are probably wrong; `agreeing`: the coefficients of each kind of question
- `finishing`: answers as a dataset version; augmented versions
- `contents`: what annotators see of the items of a version
- `probabilities`: tables of probabilities, and cross-validated ones
- `ledger`: the rows of all this, read and written
"""
