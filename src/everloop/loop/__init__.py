"""The loop turns by itself: an alert trains a candidate, gates look at it, a rollout decides.

- `loop`: the room: policies, ticks, retrainings
- `retraining`: one retraining, from the pipeline's run to the start of the rollout
- `records`: what the operations take and give
- `triggers`: what starts pipelines by itself

User code runs in a process of its own (`everloop.client.retraining`,
`everloop.client.firing`), never in the server's. Whether a policy
acts is decided by pure rules: `everloop.domain.policies`.
"""
