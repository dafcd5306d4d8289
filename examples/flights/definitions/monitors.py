"""What is watched once the model answers, how a switch of models is decided, and what sets off a retraining."""

import everloop as ev

# A flight's label comes when it lands, hours after it was asked about. A cancelled one never lands: after two days a day is
# judged with the labels that have come. A day of fewer than a hundred flights says nothing by itself.
truth = ev.outcome("delay", coverage=0.95, wait_days=2, minimum_rows=100)

# Pressure is often missing in storms, up to half of a day's reports, and that is known of these stations; no other
# feed behaves so.
REPORTED = [
    *["temp", "dewp", "humid", "wind_speed", "precip", "visib"],
    *["late_3h", "late_24h", "carrier_late_24h", "route_late_6h", "dep_delay_2h"],
]

# Temperature is far from January's all summer and does no harm, so drift is written down and calls nobody. Values that are
# missing or were never seen mean that a feed broke: that calls somebody, whatever the loss says.
drift = ev.monitor("inputs", endpoint="delay", measure="drift")
missing = ev.monitor("missing values", endpoint="delay", measure="missing", columns=REPORTED)
storms = ev.monitor(
    "missing pressure", endpoint="delay", measure="missing", columns=["pressure"], severity="note"
)
unseen = ev.monitor("unseen values", endpoint="delay", measure="categories")

# Raw log loss is high in a month of storms and low in a calm one. The excess over what the model itself expected is comparable,
# and so is the ranking within a day. Both by days: the flights of one day are late together.
loss = ev.monitor("excess loss", endpoint="delay", measure="excess_loss")
ranking = ev.monitor("ranking within a day", endpoint="delay", measure="daily_auc")
calibration = ev.monitor("calibration", endpoint="delay", measure="calibration")
expected = ev.monitor("expected ranking", endpoint="delay", measure="estimated")

latency = ev.monitor("latency", endpoint="delay", measure="latency", effect=0.5)
errors = ev.monitor("errors", endpoint="delay", measure="errors")

# Paired losses, one value a day, cut at a tenth of a nat: a day of storms must not decide alone. An e-value of 1/alpha = 20 for
# the gain promotes; two harms (losses and failures) share alpha. After six weeks without a decision it holds and says why.
careful = ev.rollout_plan(
    "delay",
    loss="log_loss",
    alpha=0.05,
    clip=0.1,
    minimum_blocks=14,
    parity_rows=200,
    shadow_days=42,
    weights=(0.1, 0.5),
    step_days=3,
)

# One retraining a month at most, on the flights of the last four months: each costs the same, however long the model has been in
# service. The gates compare it with the champion on the last three weeks.
fresh = ev.policy(
    "train again when it predicts worse",
    endpoint="delay",
    model="delay",
    pipeline="definitions.training:train",
    params={"recipe": "boosting"},
    on=ev.trigger(alert="performance"),
    window="sliding",
    window_days=120,
    since_param="since",
    until_param="until",
    rollout=careful,
    cooldown_days=30,
)
