"""Tables of the monitoring room."""
