"""`everloop label` as people and scripts type it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pytest

from everloop.cli.main import main
from everloop.domain.labels import EntryKind
from everloop.governance.identity import Actor, Role, acting_as
from everloop.workspace.local import LocalWorkspace


@pytest.fixture
def project(workspace: LocalWorkspace, monkeypatch: pytest.MonkeyPatch) -> LocalWorkspace:
    """Six reviews, added and being labelled; commands run in the folder of the workspace."""
    monkeypatch.setenv("EVERLOOP_WORKSPACE", str(workspace.project))
    workspace.project.mkdir(exist_ok=True)
    monkeypatch.chdir(workspace.project)
    workspace.data.add(
        pa.table({"id": list("abcdef"), "text": [f"text {each}" for each in "abcdef"]}), "reviews"
    )
    assert (
        main(
            [
                "label",
                "create",
                "tone",
                "--data",
                "reviews",
                "--text",
                "text",
                "--key",
                "id",
                "--choices",
                "good,bad",
            ]
        )
        == 0
    )
    return workspace


def asked(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> Any:
    capsys.readouterr()
    assert main(["label", *words, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_from_the_first_item_to_a_dataset(
    project: LocalWorkspace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert [each["name"] for each in asked(capsys, "list")["projects"]] == ["tone"]
    assert asked(capsys, "queue", "tone", "--limit", "2")["open"] == 6
    assert asked(capsys, "answer", "tone", "a", "good")["answers"] == {"label": "good"}
    assert asked(capsys, "answer", "tone", "b", "label=bad")["key"] == "b"
    assert asked(capsys, "answer", "tone", "#2", "--skip", "--because", "unclear")["kind"] == "skip"
    assert asked(capsys, "undo", "tone")["kind"] == "undo"
    wrong = asked(capsys, "answer", "tone", "c", "good", "--because", "unclear", code=2)
    assert wrong["error"]["message"] == "--because says why an item is skipped"
    assert "--limit" in asked(capsys, "queue", "tone", "--limit", "-1", code=2)["error"]["message"]
    shown = asked(capsys, "show", "tone")["progress"]
    assert (shown["done"], shown["open"]) == (2, 4)
    assert [each["kind"] for each in asked(capsys, "show", "tone", "c")["history"]] == ["skip", "undo"]
    made = asked(capsys, "export", "tone", "--name", "reviews/labelled")
    assert (made["reference"], made["rows"], made["policy"]) == ("data:reviews/labelled@v1", 2, "majority")


def test_people_read_tables(project: LocalWorkspace, capsys: pytest.CaptureFixture[str]) -> None:
    main(["label", "answer", "tone", "a", "good"])
    capsys.readouterr()
    for words in (
        ["list"],
        ["show", "tone"],
        ["show", "tone", "a"],
        ["queue", "tone"],
        ["agreement", "tone"],
    ):
        assert main(["label", *words]) == 0
    said = capsys.readouterr().out
    assert "5 open, 1 answered" in said
    assert "5 of 6 open, in the order: given" in said
    assert "no item has two answers yet" in said


def test_reviews(project: LocalWorkspace, capsys: pytest.CaptureFixture[str]) -> None:
    for user in ("ana", "ben"):
        with acting_as(Actor(user, Role.ENGINEER)):
            project.labels.annotate("tone", 0, {"label": "good"})
    error = asked(capsys, "review", "tone", "a", "--accept", code=2)["error"]
    assert error["hint"] == "say whose answer: --of NAME"
    assert (
        asked(capsys, "review", "tone", "a", "--of", "ben", "--correct", "bad")["kind"]
        == EntryKind.CORRECTION
    )
    assert asked(capsys, "review", "tone", "b", "--accept", code=2)["error"]["code"] == "not_found"


def test_predictions_order_the_queue_and_find_errors(
    project: LocalWorkspace, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    chance = [0.9, 0.1, 0.55, 0.8, 0.2, 0.05]
    file = tmp_path / "p.csv"
    pa.csv.write_csv(
        pa.table({"item": list("abcdef"), "good": chance, "bad": [1 - each for each in chance]}), file
    )
    found = asked(capsys, "predictions", "tone", "--from", str(file), "--model", "model:tone@v1")
    assert found["models"] == {"model:tone@v1": 6}
    queue = asked(capsys, "queue", "tone", "--order", "margin", "--limit", "1")
    assert (queue["order"], [each["key"] for each in queue["items"]]) == ("margin", ["c"])
    for key, given in zip("abcdef", ["good", "bad", "good", "good", "bad", "good"], strict=True):
        main(["label", "answer", "tone", key, given])
    by_model = asked(capsys, "errors", "tone", "--model", "model:tone@v1")
    by_file = asked(capsys, "errors", "tone", "--probabilities", str(file))
    assert [each["item"] for each in by_model["candidates"]] == ["f"]
    assert by_file["candidates"] == by_model["candidates"]
    assert main(["label", "errors", "tone", "--model", "model:tone@v1"]) == 0
    assert "1 of 6 answers are probably wrong" in capsys.readouterr().out


def test_guidelines_and_label_studio(
    project: LocalWorkspace, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "g.md").write_text("Be *kind*.")
    assert asked(capsys, "guidelines", "tone", "--from", str(tmp_path / "g.md"))["version"] == 2
    assert asked(capsys, "guidelines", "tone")["text"] == "Be *kind*."
    main(["label", "answer", "tone", "a", "good"])
    done = asked(capsys, "export", "tone", "--to", str(tmp_path / "out.json"))
    assert (done["tasks"], done["annotations"]) == (6, 1)
    back = asked(capsys, "import", "again", done["path"], "--config", done["config"])
    assert (back["added"], back["skipped"]) == (1, [])
    assert main(["label", "import", "again", done["path"]]) == 0
    assert "0 annotations new, 1 here before" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["show", "tona"], "not_found"),
        (["answer", "tone", "a"], "invalid_input"),
        (["answer", "tone", "a", "god"], "invalid_input"),
        (["answer", "tone", "zz", "good"], "not_found"),
        (["export", "tone"], "invalid_input"),
        (["queue", "tone", "--order", "entropy"], "invalid_input"),
        (["predictions", "tone", "--model", "m"], "invalid_input"),
        (["create", "x", "--data", "reviews"], "invalid_input"),
        (["create", "x", "--data", "nothing", "--choices", "a,b"], "not_found"),
        (["create", "x", "--data", "reviews", "--boxes", "--choices", "a"], "invalid_input"),
        (["import", "tone", "/nowhere.json"], "not_found"),
        (["errors", "tone"], "invalid_input"),
        (["errors", "reviews@v1"], "invalid_input"),
    ],
)
def test_mistakes_are_one_sentence(
    project: LocalWorkspace, capsys: pytest.CaptureFixture[str], words: list[str], code: str
) -> None:
    assert asked(capsys, *words, code=2)["error"]["code"] == code


def test_a_registered_model_is_asked_about_every_item(
    workspace: LocalWorkspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from sklearn.linear_model import LogisticRegression, Ridge

    monkeypatch.setenv("EVERLOOP_WORKSPACE", str(workspace.project))
    lengths = [3.0, 0.2, -4.0, 0.1, 2.0, -0.3]
    weather = pa.table({"id": list("abcdef"), "warmth": lengths, "note": ["x"] * 6})
    reference = workspace.data.add(weather, "days").reference
    frame = weather.select(["warmth"]).to_pandas()
    models = {
        "mood": (LogisticRegression(), ["good" if each > 0 else "bad" for each in lengths]),
        "three": (LogisticRegression(), ["good", "bad", "odd", "bad", "good", "odd"]),
        "warm": (Ridge(), lengths),
    }
    for name, (model, target) in models.items():
        with workspace.tracking.start(params={"model": name}) as run:
            workspace.data.dataset(reference).to_arrow()
            run.log_model(model.fit(frame, target), example=frame)
        workspace.registry.register(run.run_id, name)
    create = "create day --data days --text note --key id --choices fair,good,bad"
    asked(capsys, *create.split(" "))

    found = asked(capsys, "suggest", "day", "--model", "mood")
    assert found == {"project": "day", "model": "model:mood@v1", "items": 6}
    said = workspace.labels.suggestions("day", "model:mood@v1")
    own = workspace.registry.model("mood").predict(frame)["label"].tolist()
    assert set(own) == {"good", "bad"}
    assert [each.answers["label"] for each in said] == own
    assert all(each.probabilities[0] == 0 and sum(each.probabilities) == pytest.approx(1) for each in said)
    order = asked(capsys, "queue", "day", "--order", "entropy", "--model", "model:mood@v1")["items"]
    assert {each["key"] for each in order[:3]} == {"b", "d", "f"}  # the least certain ones

    for wrong, told in (
        ("three", "class 'odd'"),
        ("warm", "with numbers"),
        ("mod", "no model is called 'mod'"),
    ):
        assert main(["label", "suggest", "day", "--model", wrong]) == 2
        assert told in capsys.readouterr().err

    asked(capsys, "answer", "day", "b", "good")
    made = asked(capsys, "export", "day", "--name", "labelled")["reference"]
    edges = workspace.ledger.edges_of(made, upward=True)
    assert ("model:mood@v1", made, "suggested") in edges


def test_a_closed_project_says_so(project: LocalWorkspace, capsys: pytest.CaptureFixture[str]) -> None:
    asked(capsys, "close", "tone", "--because", "the budget is spent")
    assert main(["label", "answer", "tone", "a", "good"]) == 2
    said = capsys.readouterr().err
    assert "labels:tone is closed" in said
    assert "everloop label reopen tone" in said
    assert asked(capsys, "show", "labels:tone")["project"]["closed"] is not None
    assert main(["label", "show", "tone"]) == 0
    assert "closed" in capsys.readouterr().out
    asked(capsys, "reopen", "labels:tone")
    assert asked(capsys, "answer", "tone", "a", "good")["key"] == "a"


def test_names_with_spaces_are_told_as_a_shell_and_a_browser_take_them(
    project: LocalWorkspace, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert (
        main(["label", "create", "my tone", "--data", "reviews", "--text", "text", "--choices", "a,b"]) == 0
    )
    assert "6 items of data:reviews@v1; label them at /labels/my%20tone" in capsys.readouterr().out
    assert main(["label", "close", "my tone"]) == 0
    assert "everloop label reopen 'my tone'" in capsys.readouterr().out
    assert main(["label", "answer", "my tone", "#0", "a"]) != 0
    assert "everloop label reopen 'my tone'" in capsys.readouterr().err
    tasks = tmp_path / "tasks.json"
    tasks.write_text('[{"data": {"text": "new"}}]')
    assert main(["label", "import", "new one", str(tasks)]) == 2
    assert "--config FILE.xml" in capsys.readouterr().err
