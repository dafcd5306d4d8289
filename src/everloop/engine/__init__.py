"""Running functions elsewhere: executors behind one protocol. The engine knows nothing of pipelines or workspaces.

- `contract`: what an executor promises; jobs and their outcomes
- `inline`: in this process, one after another
- `processes`: worker processes that can be killed, with their own thread settings
- `shipping`: code for machines that do not share our files
- `worker`: what such a process runs; `limits`: how much output and memory it may use up
- `here`: in this process, which was begun for it; `forks`: programs that begin at once, their libraries loaded
- `ray_cluster`: a Ray cluster, and `ray_node`: what runs on its nodes
- `executors`: an executor by name
"""
