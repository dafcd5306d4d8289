"""Tables of the registry room."""
