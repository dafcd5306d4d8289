"""Tables of the data room."""
