"""Tables of the features room."""
