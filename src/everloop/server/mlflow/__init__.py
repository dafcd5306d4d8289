"""MLflow's REST protocol, so that an unmodified `mlflow` client works against ``everloop up``.

An adapter: it maps messages to operations of the rooms and their records back to messages. What is allowed, what a value may
be, what happens to whom is decided in the rooms; nothing here asks a table.

- `wire`: which request is MLflow's, who asks, and the answer's shape, errors included
- `endpoints`: how a module declares its endpoints
- `codec`: JSON and query parameters as typed messages, as MLflow's clients write them
- `faults`: our errors as MLflow's error codes
- `messages`: what several endpoints speak of: experiments, runs, metrics, tags
- one module a group of endpoints: `about`, `experiments`, `runs`, …
"""
