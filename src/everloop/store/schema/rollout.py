"""Tables of the rollout room."""
