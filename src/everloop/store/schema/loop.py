"""Tables of the loop room."""
