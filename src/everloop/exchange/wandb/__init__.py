"""Weights & Biases' run folders: `records` reads the file, `messages` what a record says, `reading` makes runs of folders."""
