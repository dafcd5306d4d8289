"""Experiments: made, found, renamed, tagged, deleted, restored."""

from typing import Any

import mlflow
import pytest
from conftest import refused


def test_the_default_experiment_is_number_0(client: Any) -> None:
    assert client.get_experiment("0").name == "Default"
    assert client.get_experiment_by_name("Default").experiment_id == "0"


def test_set_experiment_makes_one_and_finds_it_again(client: Any, fresh: str) -> None:
    made = mlflow.set_experiment(fresh)
    assert mlflow.set_experiment(fresh).experiment_id == made.experiment_id
    assert made.experiment_id.isdigit()
    assert made.lifecycle_stage == "active"
    assert client.get_experiment(made.experiment_id).name == fresh
    assert client.get_experiment_by_name("no such " + fresh) is None


def test_a_name_is_taken_once(client: Any, fresh: str) -> None:
    client.create_experiment(fresh)
    refused(lambda: client.create_experiment(fresh), "RESOURCE_ALREADY_EXISTS", fresh)


def test_a_deleted_experiment_is_still_seen(client: Any, fresh: str) -> None:
    number = client.create_experiment(fresh, tags={"team": "a"})
    run = client.create_run(number)
    client.delete_experiment(number)
    assert client.get_experiment_by_name(fresh).lifecycle_stage == "deleted"
    assert client.get_experiment(number).lifecycle_stage == "deleted"
    assert client.get_run(run.info.run_id).info.lifecycle_stage == "deleted"
    refused(lambda: client.create_run(number), match="must be in the 'active' state")
    refused(lambda: client.log_metric(run.info.run_id, "a", 1), match="must be in the 'active' state")
    refused(lambda: client.rename_experiment(number, "other " + fresh), match="active")
    refused(lambda: client.delete_experiment(number), "RESOURCE_DOES_NOT_EXIST")
    with pytest.raises(mlflow.MlflowException, match="deleted"):
        mlflow.set_experiment(fresh)
    client.restore_experiment(number)
    refused(lambda: client.restore_experiment(number), "RESOURCE_DOES_NOT_EXIST")
    assert client.get_run(run.info.run_id).info.lifecycle_stage == "active"


def test_names_and_tags(client: Any, fresh: str) -> None:
    number = client.create_experiment(fresh, tags={"mlflow.note.content": "what for", "ключ": "قيمة 🌍"})
    client.set_experiment_tag(number, "stage", "one")
    client.set_experiment_tag(number, "stage", "two")
    found = client.get_experiment(number)
    assert found.tags == {"mlflow.note.content": "what for", "ключ": "قيمة 🌍", "stage": "two"}
    client.rename_experiment(number, "new " + fresh)
    assert client.get_experiment(number).name == "new " + fresh
    assert client.get_experiment(number).last_update_time > found.creation_time


def test_what_is_not_there(client: Any) -> None:
    refused(lambda: client.get_experiment("987654321"), "RESOURCE_DOES_NOT_EXIST")
    refused(lambda: client.get_experiment("987654321987654321"), "RESOURCE_DOES_NOT_EXIST")
    refused(lambda: client.get_experiment("abc"), match="integer")
    refused(lambda: client.create_experiment(" "))
    refused(lambda: client.create_experiment("x" * 501))


@pytest.mark.parametrize("name", ["🚀 flights", "رحلات", "100% / a & b?c=d#e", "  spaces  ", "x" * 500, "7"])
def test_any_name(client: Any, name: str) -> None:
    number = client.create_experiment(name)
    assert client.get_experiment_by_name(name).experiment_id == number
    assert client.get_experiment(number).name == name
