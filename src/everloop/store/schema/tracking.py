"""Tables of the tracking room."""
