"""What the checks share. They run in the environment of an unmodified MLflow client, against MLFLOW_TRACKING_URI."""

import itertools
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_numbers = itertools.count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    marked = [item for item in items if item.get_closest_marker("newest")]
    if not marked:  # or these are Everloop's own tests, collected without a client
        return
    import mlflow

    if int(mlflow.__version__.partition(".")[0]) < 3:
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="came with MLflow 3"))


@pytest.fixture
def client() -> Any:
    import mlflow

    return mlflow.MlflowClient()


@pytest.fixture
def fresh() -> str:
    """A name that nothing has yet."""
    return f"experiment {os.getpid()} {next(_numbers)}"


@pytest.fixture
def experiment(fresh: str) -> Iterator[Any]:
    """A new experiment, active in the fluent interface."""
    import mlflow

    yield mlflow.set_experiment(fresh)
    while mlflow.active_run() is not None:
        mlflow.end_run()


@pytest.fixture
def run(experiment: Any) -> Iterator[Any]:
    """An active run in an experiment of its own."""
    import mlflow

    with mlflow.start_run() as started:
        yield started


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


def refused(call: Any, code: str = "INVALID_PARAMETER_VALUE", match: str | None = None) -> Any:
    """Call, and return the error, which must be an MlflowException of this code."""
    from mlflow.exceptions import MlflowException

    with pytest.raises(MlflowException, match=match) as caught:
        call()
    assert caught.value.error_code == code, str(caught.value)
    return caught.value
