"""What a version must show before it may answer passengers. Models are compared on the same flights, in blocks of days."""

import everloop as ev

gate = ev.gate

# What others are to beat must be sound itself.
baseline = ev.gates("delay-baseline", gate.provenance_complete(), gate.answers_in_fresh_process())

delay = ev.gates(
    "delay",
    gate.provenance_complete(),
    gate.answers_in_fresh_process(),
    gate.better_than("model:delay-baseline@v1", metrics=["log_loss", "auc"]),
    # Three weeks of days seldom prove a gain; the rollout collects the proof on live traffic.
    gate.better_than("champion", metrics=["log_loss", "auc"], proof="estimate"),
    gate.slices_not_worse(by=["origin", "carrier"], metric="log_loss", margin=0.03, min_rows=500),
    gate.reproduces(at_least="predictions"),
    evaluation=gate.evaluation(artifact="evaluation.parquet", label="late", block="day"),
)
