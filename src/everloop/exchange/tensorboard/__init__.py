"""TensorBoard's event files: `records` reads the file, `events` what a record says, `reading` makes runs of a log folder."""
