"""Tables of the pipelines room."""
