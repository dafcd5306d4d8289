"""One line that makes trainings into runs: what is logged, that nothing else changes, and that it can be undone."""

from __future__ import annotations

import json
import pickle
import random
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import everloop as ev
from everloop.errors import InvalidInput, Unavailable
from everloop.tracking.run import Run
from everloop.tracking.tracking import Tracking
from everloop.workspace.local import LocalWorkspace

sklearn = pytest.importorskip("sklearn")
from sklearn import metrics  # noqa: E402
from sklearn.base import BaseEstimator, ClassifierMixin  # noqa: E402
from sklearn.cluster import KMeans  # noqa: E402
from sklearn.datasets import make_classification, make_regression  # noqa: E402
from sklearn.ensemble import RandomForestClassifier  # noqa: E402
from sklearn.linear_model import LinearRegression, LogisticRegression, SGDClassifier  # noqa: E402
from sklearn.model_selection import GridSearchCV, cross_val_score  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402

X, Y = make_classification(200, 5, random_state=0)
XR, YR = make_regression(100, 3, random_state=0)


@pytest.fixture
def tracking(workspace: LocalWorkspace) -> Tracking:
    room: Tracking = workspace.tracking
    return room


@pytest.fixture(autouse=True)
def off_again() -> Iterator[None]:
    yield
    ev.autolog(disable=True)


@pytest.fixture
def strict() -> Iterator[None]:
    """A warning of autologging is a failure of the test."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="everloop")
        yield


def only(tracking: Tracking) -> Run:
    (run,) = tracking.runs()
    return run


@pytest.mark.usefixtures("strict")
class TestScikit:
    def test_a_regression(self, tracking: Tracking) -> None:
        ev.autolog()
        model = LinearRegression().fit(XR, YR)
        run = only(tracking)
        assert run.status == "finished"
        assert set(run.params) == set(model.get_params())
        assert set(run.metrics) == {
            f"training_{name}"
            for name in (
                "mean_squared_error",
                "mean_absolute_error",
                "r2_score",
                "root_mean_squared_error",
                "score",
            )
        }
        assert run.metrics["training_r2_score"] == model.score(XR, YR)
        assert {each.path for each in run.artifacts()} >= {
            "estimator.html",
            "model/model.skops",
            "model/model.json",
        }
        assert run.tags["estimator_name"] == "LinearRegression"
        assert run.tags["everloop.autolog"] == "sklearn"
        (described,) = tracking.datasets_of([run.run_id])[run.run_id]
        assert (described.context, described.profile) == ("train", '{"num_rows":100,"num_columns":3}')

    def test_a_classifier(self, tracking: Tracking) -> None:
        ev.autolog(log_models=False, log_datasets=False)
        RandomForestClassifier(n_estimators=3, random_state=0, n_jobs=2).fit(X, Y)
        run = only(tracking)
        assert set(run.metrics) == {
            f"training_{name}"
            for name in (
                "precision_score",
                "recall_score",
                "f1_score",
                "accuracy_score",
                "log_loss",
                "roc_auc",
                "score",
            )
        }
        assert {each.path for each in run.artifacts()} >= {"estimator.html", "training_confusion_matrix.json"}
        assert not run.artifacts("model")
        assert tracking.datasets_of([run.run_id]) == {}

    def test_what_the_features_count_is_kept_as_tables(self, tracking: Tracking) -> None:
        def table(run: Run, path: str) -> dict[str, list[Any]]:
            found = json.loads(run.read_artifact(path))
            return dict(zip(found["columns"], map(list, zip(*found["data"], strict=True)), strict=True))

        import pyarrow as pa

        ev.autolog(log_models=False)
        forest = GridSearchCV(
            RandomForestClassifier(n_estimators=5, random_state=0), {"max_depth": [2]}, cv=2
        )
        with ev.start_run() as run:
            forest.fit(X, Y)
        importance = table(run, "feature_importance.json")
        expected = forest.best_estimator_.feature_importances_
        assert importance["importance"] == sorted(expected.tolist(), reverse=True)
        assert importance["feature"][0] == f"x{expected.argmax()}"
        frame = pa.table({name: X[:, at] for at, name in enumerate("abcde")}).to_pandas()
        with ev.start_run() as run:
            model = make_pipeline(StandardScaler(), LogisticRegression()).fit(frame, Y % 3)
        linear = table(run, "coefficients.json")
        named = dict(zip("abcde", model[-1].coef_[0].tolist(), strict=True))
        assert dict(zip(linear["feature"], linear["coefficient"], strict=True)) == named
        assert linear["feature"][0] == max(named, key=lambda name: abs(named[name]))
        with ev.start_run() as run:
            SGDClassifier(random_state=0).fit(X, np.arange(len(X)) % 3)
        assert list(table(run, "coefficients.json"))[1:] == [f"coefficient of {each}" for each in range(3)]
        with ev.start_run() as run:
            KMeans(2, n_init=1).fit(X)
        assert not [each for each in run.artifacts() if each.path.endswith((".json", ".png"))]

    def test_what_is_done_with_predictions_goes_to_the_run_of_their_model(self, tracking: Tracking) -> None:
        ev.autolog(log_models=False)
        with ev.start_run(name="mine") as run:
            model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, Y)
            new, truth = X[:50], Y[:50]
            score = model.score(new, truth)
            predicted = model.predict(new)
            metrics.accuracy_score(truth, predicted)
            metrics.accuracy_score(truth, y_pred=predicted)
            assert run.is_open
        assert only(tracking).run_id == run.run_id
        assert run.params["logisticregression__C"] == "1.0"
        assert run.metrics["Pipeline_score_new"] == score
        assert run.metrics["accuracy_score_new"] == run.metrics["accuracy_score-2_new"] == score
        assert {each.context for each in tracking.datasets_of([run.run_id])[run.run_id]} == {"train", "eval"}
        assert "everloop.autolog" not in run.tags

    def test_metrics_of_a_run_that_has_ended(self, tracking: Tracking) -> None:
        ev.autolog(log_models=False)
        model = LogisticRegression().fit(X, Y)
        loss = metrics.log_loss(Y, model.predict_proba(X))
        assert only(tracking).metrics["log_loss_X"] == loss
        metrics.log_loss(Y, np.full((len(Y), 2), 0.5))
        assert set(only(tracking).metrics) & {"log_loss_unknown_dataset"} == set()

    def test_a_search_has_its_best_candidates_as_children(self, tracking: Tracking) -> None:
        ev.autolog(max_tuning_runs=2)
        search = GridSearchCV(LogisticRegression(), {"C": [0.01, 0.1, 1.0]}, cv=3).fit(X, Y)
        parent = next(run for run in tracking.runs() if run.record.parent is None)
        children = [run for run in tracking.runs() if run.record.parent == parent.run_id]
        assert len(children) == 2
        assert parent.params["best_C"] == str(search.best_params_["C"])
        assert parent.metrics["best_cv_score"] == search.best_score_
        ranks = {run.params["C"]: run.metrics["rank_test_score"] for run in children}
        assert ranks[parent.params["best_C"]] == 1.0
        assert {each.path for each in parent.artifacts()} >= {"cv_results.csv", "model/model.skops"}

    def test_what_scikit_learn_calls_of_itself_makes_no_run(self, tracking: Tracking) -> None:
        ev.autolog(log_models=False)
        cross_val_score(LogisticRegression(), X, Y)
        assert tracking.runs() == []
        KMeans(2, n_init=2, random_state=0).fit_predict(X)
        assert len(tracking.runs()) == 1

    def test_a_fit_that_raises_fails_its_run(self, tracking: Tracking) -> None:
        ev.autolog()
        with pytest.raises(ValueError, match="C"):
            LogisticRegression(C=-1.0).fit(X, Y)
        run = only(tracking)
        assert (run.status, run.params["C"], run.metrics) == ("failed", "-1.0", {})

    def test_estimators_of_ones_own(self, tracking: Tracking) -> None:
        ev.autolog(log_models=False)

        class Majority(ClassifierMixin, BaseEstimator):
            def __init__(self, bias: int = 0) -> None:
                self.bias = bias

            def fit(self, X: Any, y: Any) -> Majority:
                self.classes_, counts = np.unique(y, return_counts=True)
                self.best_ = self.classes_[counts.argmax()]
                return self

            def predict(self, X: Any) -> Any:
                return np.full(len(X), self.best_)

        Majority(bias=3).fit(X, Y)
        run = only(tracking)
        assert (run.params, run.tags["estimator_name"]) == ({"bias": "3"}, "Majority")
        assert "training_accuracy_score" in run.metrics

    def test_exclusive_leaves_the_users_runs_alone(self, tracking: Tracking) -> None:
        ev.autolog(exclusive=True)
        with ev.start_run() as run:
            LinearRegression().fit(XR, YR)
        assert (run.params, run.metrics, run.artifacts()) == ({}, {}, [])

    def test_a_flavour_can_be_left_out(self, tracking: Tracking) -> None:
        ev.autolog(exclude_flavors=["sklearn"])
        LinearRegression().fit(XR, YR)
        assert tracking.runs() == []
        with pytest.raises(InvalidInput, match="no flavour 'prophet'"):
            ev.autolog(exclude_flavors=["prophet"])

    def test_a_model_can_be_registered_by_itself(self, tracking: Tracking, workspace: LocalWorkspace) -> None:
        asked = []
        from everloop.client import runs

        before, runs._register = runs._register, lambda run, name: asked.append((run.run_id, name))
        try:
            ev.autolog(registered_model_name="auto")
            LinearRegression().fit(XR, YR)
        finally:
            runs._register = before
        assert asked == [(only(tracking).run_id, "auto")]


def trained() -> list[Any]:
    """Trainings that draw from the global generators, and what they predict."""
    np.random.seed(3)
    random.seed(3)
    forest = RandomForestClassifier(n_estimators=5).fit(X, Y)
    linear = SGDClassifier(loss="log_loss").fit(X, Y)
    search = GridSearchCV(SGDClassifier(), {"alpha": [1e-4, 1e-2]}, cv=3).fit(X, Y)
    again = [np.random.random(), random.random()]
    found = [forest.predict_proba(X), linear.coef_, linear.predict_proba(X), search.predict(X), again]
    return [np.asarray(each).tobytes() for each in found]


@pytest.mark.usefixtures("workspace")
def test_results_are_the_same_to_the_bit() -> None:
    before = trained()
    ev.autolog()
    assert trained() == before
    ev.autolog(disable=True)
    assert trained() == before


def everything(kind: type) -> dict[tuple[str, str], object]:
    found = {(kind.__qualname__, name): member for name, member in vars(kind).items() if name != "__doc__"}
    found |= {
        (kind.__qualname__, f"{name}.fn"): each.fn for name, each in vars(kind).items() if hasattr(each, "fn")
    }
    for each in kind.__subclasses__():
        if each.__module__.startswith("sklearn"):
            found |= everything(each)
    return found


@pytest.mark.usefixtures("workspace")
def test_disabling_leaves_the_library_as_it_was(tracking: Tracking) -> None:
    before, functions, finders = everything(BaseEstimator), dict(vars(metrics)), list(sys.meta_path)
    ev.autolog()
    assert everything(BaseEstimator) != before
    ev.autolog(silent=True)
    ev.autolog(disable=True)
    after = everything(BaseEstimator)
    assert {key for key in before if after.get(key) is not before[key]} == set()
    assert dict(vars(metrics)) == functions
    assert sys.meta_path == finders
    LinearRegression().fit(XR, YR)
    assert tracking.runs() == []


@pytest.mark.parametrize(
    "broken", ["log_params", "log_metrics", "log_text", "log_model", "log_dataset", "set_tags", "finish"]
)
def test_a_failure_of_the_log_is_a_warning_and_nothing_else(
    tracking: Tracking, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("the log is broken")

    expected = LogisticRegression().fit(X, Y).predict(X)
    ev.autolog()
    monkeypatch.setattr(Run, broken, fail)
    with pytest.warns(RuntimeWarning, match="the log is broken"):
        model = LogisticRegression().fit(X, Y)
    assert np.array_equal(model.predict(X), expected)
    monkeypatch.undo()
    ev.end_run()


@pytest.mark.usefixtures("strict")
def test_without_a_ledger_the_training_goes_on(tracking: Tracking, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise Unavailable("the server cannot be reached")

    ev.autolog(silent=True)
    monkeypatch.setattr(Tracking, "start", away)
    assert LogisticRegression().fit(X, Y).score(X, Y) > 0.5
    monkeypatch.undo()


@pytest.mark.usefixtures("strict")
def test_threads_each_have_their_run(tracking: Tracking) -> None:
    ev.autolog(log_models=False)
    threads = [
        threading.Thread(target=LogisticRegression(C=c).fit, args=(X, Y)) for c in (0.1, 1.0, 10.0, 100.0)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    found = tracking.runs()
    assert sorted(run.params["C"] for run in found) == ["0.1", "1.0", "10.0", "100.0"]
    assert {run.status for run in found} == {"finished"}


@pytest.mark.usefixtures("workspace")
def test_estimators_still_travel_between_processes() -> None:
    ev.autolog(log_models=False)
    model = LogisticRegression().fit(X, Y)
    again = pickle.loads(pickle.dumps(model))
    assert np.array_equal(again.predict(X), model.predict(X))
    assert cross_val_score(LogisticRegression(), X, Y, n_jobs=2).shape == (5,)


def test_libraries_that_are_imported_later_are_seen(workspace: LocalWorkspace, tracking: Tracking) -> None:
    code = """
import sys
import everloop as ev
ev.autolog()
assert "sklearn" not in sys.modules
from sklearn.linear_model import LinearRegression
LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0])
"""
    environment = {"EVERLOOP_WORKSPACE": str(workspace.project), "PATH": ""}
    subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True)
    assert only(tracking).tags["estimator_name"] == "LinearRegression"


class TestLoops:
    def test_batches_epochs_and_the_optimizer(self, tracking: Tracking) -> None:
        class Weight:
            def __init__(self, *shape: int, trained: bool = True) -> None:
                self.shape, self.requires_grad = shape, trained

        class Net:
            def parameters(self) -> list[Weight]:
                return [Weight(3, 4), Weight(4, trained=False)]

        class Adam:
            def __init__(self) -> None:
                self.param_groups = [{"lr": 0.1, "betas": (0.9, 0.99), "params": [object()]}]

        optimizer = Adam()
        with ev.start_run() as run:
            log = ev.TrainingLog(model=Net(), optimizer=optimizer, every=2)
            for epoch in range(2):
                for loss in (4.0, 2.0):
                    log.batch(loss=np.float32(loss))
                optimizer.param_groups[0]["lr"] /= 10
                log.epoch(accuracy=0.5 + epoch / 4)
        assert run.params == {
            "model": "Net",
            "model_parameters": "16",
            "model_trainable_parameters": "12",
            "optimizer": "Adam",
            "optimizer_lr": "0.1",
        }
        assert run.history("loss")["step"].to_pylist() == [0, 2]
        assert run.history("epoch/loss")["value"].to_pylist() == [3.0, 3.0]
        assert run.history("epoch/accuracy")["value"].to_pylist() == [0.5, 0.75]
        assert run.history("epoch/learning_rate")["value"].to_pylist() == pytest.approx([0.01, 0.001])

    def test_a_value_that_is_none_is_a_warning(self, tracking: Tracking) -> None:
        with ev.start_run(), pytest.warns(RuntimeWarning, match="logging a batch failed"):
            ev.TrainingLog().batch(loss=None)


class TestBoosting:
    """These libraries are extras; without them nothing is tested here."""

    def test_xgboost(self, tracking: Tracking) -> None:
        xgboost = pytest.importorskip("xgboost")
        data, valid = xgboost.DMatrix(X[:150], Y[:150]), xgboost.DMatrix(X[150:], Y[150:])
        params = {"objective": "binary:logistic", "seed": 0, "nthread": 1}

        def train() -> Any:
            return xgboost.train(
                params, data, 30, evals=[(valid, "valid")], early_stopping_rounds=3, verbose_eval=False
            )

        before = train()
        ev.autolog()
        after = train()
        assert bytes(after.save_raw()) == bytes(before.save_raw())
        run = only(tracking)
        history = run.history("valid-logloss")
        assert history["step"].to_pylist() == list(range(history.num_rows))
        assert run.params["num_boost_round"] == "30"
        assert run.metrics["best_iteration"] == before.best_iteration
        assert {each.path for each in run.artifacts()} == {
            "feature_importance_weight.json",
            "model/model.ubj",
        }

    def test_lightgbm(self, tracking: Tracking) -> None:
        lightgbm = pytest.importorskip("lightgbm")
        params = {
            "objective": "binary",
            "metric": ["auc", "binary_logloss"],
            "seed": 0,
            "num_threads": 1,
            "verbose": -1,
        }

        def train() -> Any:
            data = lightgbm.Dataset(X[:150], Y[:150])
            valid = lightgbm.Dataset(X[150:], Y[150:], reference=data)
            return lightgbm.train(params, data, 10, valid_sets=[valid], valid_names=["valid"])

        before = train()
        ev.autolog()
        after = train()
        assert after.model_to_string() == before.model_to_string()
        run = only(tracking)
        assert run.history("valid-auc").num_rows == run.history("valid-binary_logloss").num_rows == 10
        assert "feature_importance_gain.json" in {each.path for each in run.artifacts()}

    def test_their_estimators(self, tracking: Tracking) -> None:
        xgboost = pytest.importorskip("xgboost")
        ev.autolog()
        with warnings.catch_warnings(action="error", category=RuntimeWarning):
            trained = xgboost.XGBClassifier(n_estimators=5, n_jobs=1)
            trained.fit(X, Y, eval_set=[(X, Y)], verbose=False)
        run = only(tracking)
        again = xgboost.XGBClassifier()
        again.load_model(bytearray(run.read_artifact("model/model.ubj")))
        assert (again.predict_proba(X) == trained.predict_proba(X)).all()
        assert run.history("validation_0-logloss").num_rows == 5
        assert run.params["n_estimators"] == "5"
