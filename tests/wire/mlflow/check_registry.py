"""The registry: models, versions, tags, aliases, stages, search, copies, and the codes that steer the client."""

from pathlib import Path
from typing import Any

import mlflow
import pytest
from conftest import refused
from mlflow.exceptions import MlflowException

MISSING = "RESOURCE_DOES_NOT_EXIST"
EXISTS = "RESOURCE_ALREADY_EXISTS"


@pytest.fixture
def versions(client: Any, run: Any, fresh: str) -> Any:
    """A registered model with three versions, made of a run's artifacts."""
    mlflow.log_text("flavors: {}", "model/MLmodel")
    client.create_registered_model(fresh)
    for _ in range(3):
        client.create_model_version(fresh, f"{run.info.artifact_uri}/model", run.info.run_id)
    return fresh


def test_a_model_is_made_described_tagged_and_deleted(client: Any, fresh: str) -> None:
    made = client.create_registered_model(fresh, tags={"team": "a"}, description="what for")
    assert (made.name, made.description, made.tags) == (fresh, "what for", {"team": "a"})
    refused(lambda: client.create_registered_model(fresh), EXISTS)
    client.update_registered_model(fresh, "otherwise")
    client.set_registered_model_tag(fresh, "team", "b")
    client.set_registered_model_tag(fresh, "x", "y")
    client.delete_registered_model_tag(fresh, "x")
    client.delete_registered_model_tag(fresh, "never there")
    found = client.get_registered_model(fresh)
    assert (found.description, found.tags, found.latest_versions) == ("otherwise", {"team": "b"}, [])
    assert found.last_updated_timestamp >= found.creation_timestamp
    client.delete_registered_model(fresh)
    refused(lambda: client.get_registered_model(fresh), MISSING)
    refused(lambda: client.delete_registered_model(fresh), MISSING)


@pytest.mark.parametrize("name", ["", "  ", "a:b", "x" * 300, "a\nb"])
def test_names_that_a_model_may_not_have(client: Any, name: str) -> None:
    refused(lambda: client.create_registered_model(name))


def test_numbers_of_deleted_versions_are_not_given_again(client: Any, versions: str, run: Any) -> None:
    client.delete_model_version(versions, "3")
    refused(lambda: client.get_model_version(versions, "3"), MISSING)
    refused(lambda: client.delete_model_version(versions, "3"), MISSING)
    made = client.create_model_version(versions, f"{run.info.artifact_uri}/model", run.info.run_id)
    assert str(made.version) == "4"
    assert sorted(str(each.version) for each in client.search_model_versions(f"name = '{versions}'")) == [
        "1",
        "2",
        "4",
    ]


def test_a_version_is_described_and_tagged(client: Any, versions: str, run: Any) -> None:
    client.update_model_version(versions, "1", "the first")
    client.set_model_version_tag(versions, "1", "a", "b")
    client.set_model_version_tag(versions, "1", "c", "d" * 10_000)
    client.delete_model_version_tag(versions, "1", "a")
    client.delete_model_version_tag(versions, "1", "never there")
    found = client.get_model_version(versions, "1")
    assert (found.description, found.tags) == ("the first", {"c": "d" * 10_000})
    assert (found.run_id, found.status, found.current_stage) == (run.info.run_id, "READY", "None")
    assert found.source == f"{run.info.artifact_uri}/model"
    assert found.last_updated_timestamp >= found.creation_timestamp
    for version in ("9", "0", "99999999999"):
        refused(lambda version=version: client.get_model_version(versions, version), MISSING)
    refused(lambda: client.get_model_version(versions, "one"))
    refused(lambda: client.get_model_version("nobody", "1"), MISSING)
    refused(lambda: client.set_model_version_tag(versions, "1", "k", "v" * 100_001))


def test_aliases_move_and_go(client: Any, versions: str) -> None:
    client.set_registered_model_alias(versions, "challenger", "1")
    client.set_registered_model_alias(versions, "challenger", "2")
    client.set_registered_model_alias(versions, "Other", "2")
    found = client.get_model_version_by_alias(versions, "challenger")
    assert str(found.version) == "2"
    assert sorted(client.get_model_version(versions, "2").aliases) == ["Other", "challenger"]
    aliases = client.get_registered_model(versions).aliases
    assert {name: str(version) for name, version in aliases.items()} == {"challenger": "2", "Other": "2"}
    refused(lambda: client.get_model_version_by_alias(versions, "other"), match="not found")
    refused(lambda: client.set_registered_model_alias(versions, "x", "9"), MISSING)
    for wrong in ("latest", "LATEST", "v1", "V22", "a.b", "a b", "x" * 256):
        refused(lambda wrong=wrong: client.set_registered_model_alias(versions, wrong, "1"))
    client.delete_registered_model_alias(versions, "challenger")
    client.delete_registered_model_alias(versions, "challenger")
    refused(lambda: client.get_model_version_by_alias(versions, "challenger"))
    client.delete_model_version(versions, "2")
    assert client.get_registered_model(versions).aliases == {}, "a deleted version takes its aliases along"


def test_stages_in_any_case(client: Any, versions: str) -> None:
    for version, stage in (("1", "production"), ("2", "STAGING"), ("3", "Production")):
        client.transition_model_version_stage(versions, version, stage)
    assert {each.current_stage: str(each.version) for each in client.get_latest_versions(versions)} == {
        "Production": "3",
        "Staging": "2",
    }
    assert [str(each.version) for each in client.get_latest_versions(versions, ["Staging", "None"])] == ["2"]
    client.transition_model_version_stage(versions, "2", "Production", archive_existing_versions=True)
    stages = {
        str(each.version): each.current_stage for each in client.search_model_versions(f"name='{versions}'")
    }
    assert stages == {"1": "Archived", "2": "Production", "3": "Archived"}
    refused(lambda: client.transition_model_version_stage(versions, "1", "Prod"))
    refused(
        lambda: client.transition_model_version_stage(versions, "1", "None", archive_existing_versions=True)
    )
    refused(lambda: client.get_latest_versions(versions, ["Prod"]))


def test_a_renamed_model_keeps_its_versions(client: Any, versions: str, fresh: str) -> None:
    renamed = f"{versions} renamed"
    client.create_registered_model(f"{versions} taken")
    client.set_registered_model_alias(versions, "best-one", "2")
    refused(lambda: client.rename_registered_model(versions, f"{versions} taken"), EXISTS)
    client.rename_registered_model(versions, renamed)
    assert str(client.get_model_version_by_alias(renamed, "best-one").version) == "2"
    assert len(client.search_model_versions(f"name = '{renamed}'")) == 3
    refused(lambda: client.get_registered_model(versions), MISSING)
    client.create_registered_model(versions)


def test_models_are_searched_ordered_and_paged(client: Any, fresh: str) -> None:
    head = f"{fresh} zoo"
    for name in ("Ape", "bear", "cat", "dog"):
        client.create_registered_model(f"{head}-{name}", tags={"long legs": str(name == "dog")})
    here = f"name LIKE '{head}-%'"

    def found(where: str = "", **more: Any) -> list[str]:
        both = f"{here} AND {where}" if where else here
        return [each.name.removeprefix(f"{head}-") for each in client.search_registered_models(both, **more)]

    assert found() == ["Ape", "bear", "cat", "dog"]
    assert found(order_by=["name DESC"]) == ["dog", "cat", "bear", "Ape"]
    assert found(order_by=["last_updated_timestamp ASC"]) == ["Ape", "bear", "cat", "dog"]
    assert found(f"name ILIKE '{head}-A%'") == ["Ape"]
    assert found(f"name != '{head}-cat'") == ["Ape", "bear", "dog"]
    assert found("tags.`long legs` = 'True'") == ["dog"]
    assert found("tags.nope != 'x'") == []
    seen, token = [], None
    while True:
        page = client.search_registered_models(here, max_results=3, page_token=token)
        seen += [each.name for each in page]
        token = page.token
        if not token:
            break
    assert len(seen) == len(set(seen)) == 4
    for wrong in (
        "tags.k IS",
        "name = 'a' OR",
        "name == 'a'",
        "metrics.rmse > 1",
        "name = 'a",
    ):
        refused(lambda wrong=wrong: client.search_registered_models(wrong))
    assert found(f"(name = '{head}-cat' OR tags.`long legs` = 'True') AND creation_timestamp > 1") == [
        "cat",
        "dog",
    ]
    refused(lambda: client.search_registered_models(order_by=["colour"]))
    refused(lambda: client.search_registered_models(max_results=1_001))
    refused(lambda: client.search_registered_models(page_token="not a token"))


def test_versions_are_searched_ordered_and_paged(client: Any, versions: str, run: Any) -> None:
    client.set_model_version_tag(versions, "2", "k", "v")
    here = f"name = '{versions}'"

    def found(where: str = "", **more: Any) -> list[int]:
        both = f"{here} AND {where}" if where else here
        return [int(each.version) for each in client.search_model_versions(both, **more)]

    assert found() == [3, 2, 1]
    client.update_model_version(versions, "2", "described")
    assert found() == [2, 3, 1], "changed last first; a tag is no change"
    assert found(order_by=["version_number ASC"]) == [1, 2, 3]
    assert found(order_by=["creation_timestamp DESC", "name"]) == [3, 2, 1]
    assert found(f"run_id = '{run.info.run_id}' AND version_number >= 2") == [2, 3]
    assert found("run_id IN ('x', 'y')") == []
    assert found("tags.k = 'v'") == [2]
    assert found("tags.k IS NULL AND NOT version_number = 1") == [3]
    assert found("source_path LIKE '%/model'", order_by=["version_number"]) == [1, 2, 3]
    first = client.search_model_versions(here, max_results=2)
    rest = client.search_model_versions(here, max_results=2, page_token=first.token)
    assert (len(first), len(rest)) == (2, 1)
    assert not rest.token
    for wrong in ("tags.k IS", "version_number = '1'", "colour = 'x'", "NOT name"):
        refused(lambda wrong=wrong: client.search_model_versions(wrong))
    refused(lambda: client.search_model_versions(order_by=["version_number", "version_number DESC"]))
    refused(lambda: client.search_model_versions(max_results=200_001))


def test_a_version_is_copied_with_its_files(client: Any, versions: str, folder: Any) -> None:
    copy = client.copy_model_version(f"models:/{versions}/2", f"{versions} copy")
    assert (copy.name, str(copy.version), copy.source) == (f"{versions} copy", "1", f"models:/{versions}/2")
    again = client.copy_model_version(f"models:/{versions}/1", f"{versions} copy")
    assert str(again.version) == "2"
    uri = client.get_model_version_download_uri(f"{versions} copy", "1")
    where = mlflow.artifacts.download_artifacts(uri, dst_path=str(folder))
    assert "flavors" in Path(where, "MLmodel").read_text()
    with pytest.raises(MlflowException):
        client.copy_model_version(f"models:/{versions}/9", f"{versions} copy")


@pytest.mark.parametrize(
    "source",
    [
        "/etc/passwd",
        "file:///etc",
        "C:\\models",
        "a/b",
        "s3://bucket/../x",
        "mlflow-artifacts:/0/models/../../x",
        "mlflow-artifacts:/0/%2e%2e/x",
        "models:/nobody",
        f"models:/m-{'0' * 32}",
        "mlflow-artifacts:/somewhere/else",
    ],
)
def test_sources_that_a_version_may_not_have(client: Any, fresh: str, source: str) -> None:
    client.create_registered_model(fresh)
    refused(lambda: client.create_model_version(fresh, source))
    assert client.search_model_versions(f"name = '{fresh}'") == []


def test_a_version_may_point_elsewhere(client: Any, fresh: str) -> None:
    client.create_registered_model(fresh)
    client.create_model_version(fresh, "s3://bucket/model", run_link="https://elsewhere/run")
    found = client.get_model_version(fresh, "1")
    assert (found.source, found.run_link) == ("s3://bucket/model", "https://elsewhere/run")
    assert client.get_model_version_download_uri(fresh, "1") == "s3://bucket/model"
    client.create_model_version(fresh, "s3://x/y", run_id="0" * 32)
    assert client.get_model_version(fresh, "2").run_id == "0" * 32, "a run of another server"
    refused(lambda: client.create_model_version("nobody", "s3://x/y"), MISSING)


def test_registered_files_do_not_change(client: Any, versions: str, folder: Any) -> None:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    uri = client.get_model_version_download_uri(versions, "1")
    repository = get_artifact_repository(uri)
    assert [each.path for each in repository.list_artifacts()] == ["MLmodel"]
    (folder / "extra.txt").write_text("x")
    with pytest.raises((MlflowException, OSError), match=r"do not change|400"):
        repository.log_artifact(str(folder / "extra.txt"))
