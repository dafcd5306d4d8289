"""Running functions elsewhere: executors behind one protocol. The engine knows nothing of pipelines or workspaces.

- `contract`: what an executor promises; jobs and their outcomes
- `inline`: in this process, one after another
- `processes`: worker processes that can be killed, with their own thread settings
- `worker`: what such a process runs
- `executors`: an executor by name
"""
