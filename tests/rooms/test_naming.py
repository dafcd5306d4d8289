"""Names without a kind, and wrong names in `everloop.toml`: what is meant, or which names are near."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

import everloop as ev
from everloop.cli.main import main
from everloop.errors import InvalidInput, InvalidReference, NotFound
from everloop.workspace.local import LocalWorkspace
from everloop.workspace.settings import read_settings


@pytest.fixture
def run(workspace: LocalWorkspace) -> str:
    workspace.data.add(pa.table({"delay": [1, 2]}), "flights")
    with workspace.tracking.start("delay", name="first try") as run:
        run.log_metric("loss", 0.5)
    return run.run_id


@pytest.mark.parametrize("text", ["flights", "flights@v1", "data:flights"])
def test_a_name_that_only_one_thing_has_needs_no_kind(workspace: LocalWorkspace, run: str, text: str) -> None:
    assert workspace.provenance.why(text).reference == "data:flights@v1"


def test_a_run_is_found_by_its_name_and_by_the_beginning_of_its_identifier(
    workspace: LocalWorkspace, run: str
) -> None:
    for text in ("first try", run, run[:12], f"run:{run[:12]}"):
        assert workspace.provenance.why(text).reference == f"run:{run}"


def test_what_several_kinds_are_called_has_to_be_said(workspace: LocalWorkspace, run: str) -> None:
    flight = ev.entity("flight", keys=["number"])
    view = ev.feature_view("flights", entity=flight, source="flights", event_time="now()", features=["delay"])
    workspace.features.apply([view])
    with pytest.raises(InvalidReference) as told:
        workspace.provenance.why("flights")
    assert told.value.hint == "write data:flights or feature:flights"


def test_a_wrong_name_gets_the_nearest_of_all_kinds(
    workspace: LocalWorkspace, run: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(NotFound) as told:
        workspace.provenance.why("fligths")
    assert told.value.hint == "did you mean data:flights?"
    monkeypatch.setenv("EVERLOOP_WORKSPACE", str(workspace.project))
    assert main(["why", "flihgts", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["hint"] == "did you mean data:flights?"


def test_a_rollout_that_does_not_exist_is_no_empty_answer(workspace: LocalWorkspace) -> None:
    with pytest.raises(NotFound):
        workspace.provenance.why("rollout:0123456789abcdef0123456789abcdef")


@pytest.mark.parametrize(
    ("text", "profile", "said", "hint"),
    [
        ('definitons = ["d"]', "", "no setting 'definitons'", "did you mean 'definitions'?"),
        (
            "zzz = 1",
            "",
            "no setting 'zzz'",
            "the settings are: name, ledger, objects, online, executor",
        ),
        ("[profiles.team]\nledgr = 'x'", "team", "no setting 'ledgr'", "did you mean 'ledger'?"),
        ("[profiles.team]\n[profiles.laptop]", "taem", "no profile 'taem'", "did you mean 'team'?"),
        ("[profiles.team]\n[profiles.laptop]", "zzz", "no profile 'zzz'", "the profiles are: team, laptop"),
        ("", "team", "no profile 'team'", "it has no profiles yet"),
        ("profiles = 3", "team", "profiles are tables", "write [profiles.NAME]"),
    ],
)
def test_wrong_names_in_everloop_toml(tmp_path: Path, text: str, profile: str, said: str, hint: str) -> None:
    (tmp_path / "everloop.toml").write_text(text)
    with pytest.raises(InvalidInput) as told:
        read_settings(tmp_path, {"EVERLOOP_PROFILE": profile} if profile else {})
    assert said in told.value.message
    assert told.value.hint.startswith(hint)
