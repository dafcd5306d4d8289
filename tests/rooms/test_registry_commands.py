"""The registry and serving from the command line: JSON for scripts, exit code 1 when a gate refuses, sentences for mistakes."""

import json

import pyarrow.parquet as pq
import pytest
from tests.support.trained import add_flights, flights, train

from everloop.cli.main import main

GATES = """
import everloop as ev

delay = ev.gates(
    "delay",
    ev.gate.better_than("champion", metrics=["log_loss", "auc"]),
    ev.gate.answers_in_fresh_process(),
    evaluation=ev.gate.evaluation(data="evaluation", label="late", block="day"),
)
"""


@pytest.fixture
def run(workspace, tmp_path, monkeypatch):
    """A workspace with a good and a bad trained run, found through the environment as a user's shell would name it."""
    add_flights(workspace, tmp_path, "evaluation", seed=9)
    data = add_flights(workspace, tmp_path)
    (workspace.project / "definitions.py").write_text(GATES)
    monkeypatch.setenv("EVERLOOP_WORKSPACE", str(workspace.project))
    return {"good": train(workspace, data), "bad": train(workspace, data, flipped=True)}


def answer(capsys, *arguments, code=0):
    assert main([*arguments, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_from_run_to_champion(run, capsys, tmp_path):
    first = answer(capsys, "models", "register", run["good"], "--name", "delay")
    assert first["version"] == 1
    answer(capsys, "models", "register", run["bad"], "--name", "delay")
    promoted = answer(capsys, "models", "promote", "delay@v1", "--gates", "definitions.py")
    assert promoted["allowed"]
    refused = answer(
        capsys, "models", "promote", "delay@v2", "--to", "champion", "--gates", "definitions.py", code=1
    )
    assert [(gate["name"], gate["passed"]) for gate in refused["gates"]] == [
        ("better_than champion", False),
        ("answers_in_fresh_process", True),
    ]
    assert "against" in refused["gates"][0]["reason"]
    listed = answer(capsys, "models", "list")
    assert listed["models"][0]["aliases"] == {"champion": 1}
    shown = answer(capsys, "models", "show", "delay@v2")
    assert shown["promotions"][0]["allowed"] is False
    best = answer(capsys, "best", "delay")
    assert best["candidates"][0]["reference"]
    package = answer(capsys, "package", "delay@champion", "--out", str(tmp_path / "package"))
    assert package["parity"]["flips"] == 0
    pq.write_table(flights(20), tmp_path / "in.parquet")
    predicted = answer(
        capsys,
        "predict",
        "delay@champion",
        "--in",
        str(tmp_path / "in.parquet"),
        "--out",
        str(tmp_path / "out.parquet"),
    )
    assert predicted["rows"] == 20
    assert "probability" in pq.read_table(tmp_path / "out.parquet").column_names


def test_people_get_tables_and_sentences(run, capsys):
    assert main(["models", "register", run["good"], "--name", "delay"]) == 0
    assert "registered model:delay@v1" in capsys.readouterr().out
    assert main(["models", "alias", "delay@v1", "champion", "--reason", "first"]) == 0
    capsys.readouterr()
    for arguments in (
        ["models", "list"],
        ["models", "show", "delay"],
        ["models", "show", "delay@champion"],
        ["best", "delay"],
    ):
        assert main(arguments) == 0
        assert "delay" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["models", "show", "dely"], "no model is called 'dely'"),
        (["models", "promote", "delay@v1", "--gates", "absent.py"], "no model is called 'delay'"),
        (["models", "register", "ffff", "--name", "delay"], "ffff"),
        (["models", "register", "ffff", "--name", "a@b"], "contains '@'"),
        (["serve", "nothing"], "there is no endpoint 'nothing'"),
        (["predict", "delay", "--in", "absent.parquet", "--out", "x.csv"], "no model is called"),
    ],
)
def test_mistakes_are_one_sentence_with_exit_code_2(run, capsys, arguments, says):
    said = answer(capsys, *arguments, code=2)
    assert says in said["error"]["message"]
