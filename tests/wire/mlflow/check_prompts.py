"""Prompts, which ride on the registry."""

from typing import Any

import mlflow
import pytest

pytestmark = pytest.mark.newest


def test_a_prompt_is_registered_loaded_and_kept_apart_from_models(client: Any, experiment: Any) -> None:
    name = "greeting" + experiment.experiment_id
    first = mlflow.genai.register_prompt(
        name, "Hello {{name}}", commit_message="first", tags={"tone": "warm"}
    )
    second = mlflow.genai.register_prompt(name, "Good day {{name}}")
    assert (first.version, second.version) == (1, 2)
    loaded = mlflow.genai.load_prompt(f"prompts:/{name}/1")
    assert (loaded.template, loaded.commit_message) == ("Hello {{name}}", "first")
    assert loaded.format(name="Ann") == "Hello Ann"
    assert mlflow.genai.load_prompt(name).template == "Good day {{name}}"  # the newest, asked for as an alias
    mlflow.genai.set_prompt_alias(name, "live", 2)
    assert mlflow.genai.load_prompt(f"prompts:/{name}@live").version == 2
    assert [each.name for each in mlflow.genai.search_prompts(f"name = '{name}'")] == [name]
    assert [each.name for each in client.search_registered_models(f"name = '{name}'")] == []
    mlflow.genai.delete_prompt_alias(name, "live")
    assert mlflow.genai.load_prompt("nobody", version=1, allow_missing=True) is None
