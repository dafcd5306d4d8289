"""What clients of MLflow say of runs and versions stands on their pages, and in what the commands answer."""

from __future__ import annotations

import httpx
import pytest
from tests.support.workspaces import served

from everloop.domain.models import Stage
from everloop.domain.run_inputs import LoggedDataset
from everloop.workspace.local import LocalWorkspace


@pytest.fixture
def run(workspace: LocalWorkspace) -> str:
    with workspace.tracking.start(name="used") as run:
        pass
    used = LoggedDataset(
        "flights of <may>", "d1g3st", "local", "/data/may.csv", profile='{"num_rows": 4242}', context="train"
    )
    workspace.tracking.log_datasets(run.run_id, [used])
    return run.run_id


def page(workspace: LocalWorkspace, path: str) -> str:
    with served(workspace) as url:
        return httpx.get(url + path, follow_redirects=True).raise_for_status().text


def test_datasets_that_a_run_used_are_shown(workspace: LocalWorkspace, run: str) -> None:
    shown = page(workspace, f"/runs/{run}")
    for text in ("Datasets used", "flights of &lt;may&gt;", "train", "4,242", "/data/may.csv"):
        assert text in shown
    assert workspace.tracking.describe(run).datasets[0].rows == 4242
    why = workspace.provenance.why(f"run:{run}")
    assert [each.name for each in why.described] == ["flights of <may>"]
    assert why.missing, "what is only described is not kept: the provenance stays incomplete"


def test_a_version_says_its_tags_stage_and_source(workspace: LocalWorkspace, run: str) -> None:
    registry = workspace.registry
    registry.create_model("delay")
    link = "https://example.org/jobs/1"
    registry.add_version("delay", source="s3://bucket/<model>", run_link=link, tags={"team": "ops & co"})
    registry.set_stage("delay@v1", Stage.STAGING)
    shown = page(workspace, "/models/delay@v1")
    for text in ("Staging", "s3://bucket/&lt;model&gt;", f'href="{link}"', "team", "ops &amp; co"):
        assert text in shown
    assert "Ask the gates" in shown
    assert "Staging" in page(workspace, "/models/delay")


def test_a_deleted_version_says_so_and_offers_nothing(workspace: LocalWorkspace) -> None:
    workspace.registry.create_model("delay")
    workspace.registry.add_version("delay", source="s3://bucket/model")
    workspace.registry.delete_version("delay@v1")
    shown = page(workspace, "/models/delay@v1")
    assert "This version is deleted" in shown
    assert "Ask the gates" not in shown
    assert "models promote" not in shown


def test_a_link_that_is_no_address_is_text(workspace: LocalWorkspace) -> None:
    workspace.registry.create_model("delay")
    workspace.registry.add_version("delay", source="s3://bucket/model", run_link="javascript:alert(1)")
    assert 'href="javascript' not in page(workspace, "/models/delay@v1")
