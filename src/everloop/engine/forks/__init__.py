"""Programs that begin at once: forked from a process that has loaded their libraries and done nothing else.

scikit-learn with what it brings takes about two seconds of processor time to import. A retraining with its gates begins three
processes that need it, and a loop begins such processes again and again. The fork server pays once.

- `programs`: a program, and running it: forked where that is as good as a process begun from nothing, else begun from nothing
- `asking`: finds a fork server that fits, begins one if need be, and asks it for a process
- `server`: the process that forks; `requests`: what is said between the two

What "as good as" means here is in `docs/adr/0043-fork-server.md`.
"""
