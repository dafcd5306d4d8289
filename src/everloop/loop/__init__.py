"""The loop turns by itself: an alert trains a candidate, gates look at it, a rollout decides.

- `loop`: the room: policies, ticks, retrainings
- `retraining`: one retraining, from the pipeline's run to the start of the rollout
- `worker`: the process that does it: user code never runs in the server's
- `records`: what the operations take and give

Whether a policy acts is decided by pure rules: `everloop.domain.policies`.
"""
