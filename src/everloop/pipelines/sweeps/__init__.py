"""Sweeps: a search over the parameters of a pipeline, each trial a run of it.

- `room`: `Pipelines.sweep` and `resume_sweep`, and the operations behind them
- `sweeping`: a sweep from its first trial to its last
- `runners`: trials one after another, or some at a time; `trying`: one trial
- `asking`: which parameters to try next, and which trial is hopeless (Optuna)
- `scoring`: which trial won, and whether it surely did
"""
