"""A run of a pipeline, from the first call to the last.

One thread does it all. The pipeline's function is called and its calls of steps become nodes; nodes whose inputs are there are
keyed and looked up, the rest is claimed and given to the executor. Keys, hits and records stay here, so a run whose steps are
all cached never starts a worker. A step begins when its inputs are recorded; results of steps that do not wait for each other
are recorded in batches, and what was not recorded when the process is killed is computed again.

- `running`: the run itself: begun, declared, traced, ended; `state`: what all parts know of it
- `conducting`: what a pipeline's calls of steps ask for; `references`: what their results stand for; `maps`: a map becomes calls
- `scheduling`: the loop: what is ready, what begins, what waits
- `lookup`: a step's key and its known result; `reasons`: why it has to be computed
- `claims`: the right to compute it, leases and places in pools; `jobs`: what the executor is told; `retries`: once more
- `records`: what became of each step, written in batches
"""
