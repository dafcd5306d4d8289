"""Contracts as a user meets them: bound to names, kept by every add, locally and by a server, with a history."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import everloop as ev
from everloop.cli.main import main
from everloop.domain.checks import Suite
from everloop.domain.datasets import NewVersion
from everloop.errors import InvalidInput, NotFound, Refused
from everloop.workspace.local import LocalWorkspace
from everloop.workspace.workspace import Workspace

GOOD = pa.table({"id": [1, 2, 3], "miles": [10.0, 20.0, 30.0]})
FAR = pa.table({"id": [4, 5, 6], "miles": [10.0, 9e9, 30.0]})
TWICE = pa.table({"id": [7, 7], "miles": [1.0, 1.0]})

TRIPS = ev.checks(
    "trips",
    dataset="trips",
    checks=[ev.check.key("id"), ev.check.in_range("miles", 0, 500, severity="quarantine")],
)
LOOSE = ev.checks("loose", dataset="trips", checks=[ev.check.row_count(1)])


class TestEveryAdd:
    """In this process, and behind a server."""

    def test_keeps_the_contract(self, any_workspace: Workspace) -> None:
        room = any_workspace.data
        assert room.bind(TRIPS).version == 1
        added = room.add(GOOD, "trips")
        assert added.report is not None
        assert (added.report.contract, added.report.contract_version) == ("trips", 1)
        assert [each.name for each in added.report.checks] == ["id.key", "miles.in_range"]
        with pytest.raises(Refused, match=r"id\.key failed for 1 of 2 rows"):
            room.add(TWICE, "trips")
        added = room.add(FAR, "trips", append=True)
        assert (added.rows, added.quarantine) == (5, "data:trips/quarantine@v1")
        assert room.add(TWICE, "other").report is None

    def test_is_made_with_the_checks_asked_for(self, any_workspace: Workspace) -> None:
        room = any_workspace.data
        room.bind(TRIPS)
        besides = [
            ev.check.row_count(3),
            ev.check.key("id"),
            ev.check.in_range("miles", 0, 25, severity="warn"),
        ]
        report = room.add(GOOD, "trips", checks=besides).report
        assert [(each.name, each.passed) for each in report.checks] == [
            ("id.key", True),
            ("miles.in_range", True),
            ("row_count", True),
            ("miles.in_range (2)", False),
        ]

    def test_may_be_left_out_for_a_reason_that_is_kept(self, any_workspace: Workspace) -> None:
        room = any_workspace.data
        room.bind(TRIPS)
        added = room.add(TWICE, "trips", without_contract="the supplier sends it again tomorrow")
        [report] = room.reports("trips@v1")
        assert (report.passed, report.contract, report.checks) == (False, "trips", [])
        assert report.waived == "the supplier sends it again tomorrow"
        assert added.report == report

    def test_cannot_be_gone_around(self, any_workspace: Workspace) -> None:
        """What records versions is an operation that anybody may call; it knows the contract too."""
        room = any_workspace.data
        room.add(GOOD, "trips")
        room.bind(TRIPS)
        made = room.add(FAR, "free")
        new = {"name": "trips", "digest": made.digest, "new_bytes": 0, "rows": 3, "columns": made.columns}
        with pytest.raises(Refused, match="its checks were not made"):
            room.record([NewVersion(**new, parent=1)])
        other = room.add(GOOD, "trips/other", checks=TRIPS).report
        with pytest.raises(Refused, match="its checks were not made"):
            room.record([NewVersion(**new, parent=1, report=other)])
        kept = room.check("trips@v1")
        room.bind(LOOSE)
        with pytest.raises(Refused, match="version 2 by now"):
            room.record([NewVersion(**new, parent=1, report=kept)])

    def test_runs_when_nothing_is_named(self, any_workspace: Workspace) -> None:
        room = any_workspace.data
        room.add(TWICE, "trips")
        with pytest.raises(NotFound, match="no contract is bound"):
            room.check("trips")
        room.bind(TRIPS)
        report = room.check("trips")
        assert (report.passed, report.contract) == (False, "trips")
        assert [each.contract_version for each in room.reports("trips")] == [1]


class TestNames:
    def test_the_most_specific_holds(self, workspace: LocalWorkspace) -> None:
        room = workspace.data
        room.bind(LOOSE, "raw/*")
        room.bind(LOOSE, "*")
        room.bind(TRIPS, "raw/trips")
        patterns = {
            name: contract.pattern if (contract := room.contract(name)) else None
            for name in ("raw/trips", "raw/trips2", "raw", "raw/trips/quarantine")
        }
        assert patterns == {
            "raw/trips": "raw/trips",
            "raw/trips2": "raw/*",
            "raw": "*",
            "raw/trips/quarantine": None,
        }
        room.unbind_contract("raw/trips", "done")
        assert room.contract("raw/trips").pattern == "raw/*"
        assert [each.pattern for each in room.contracts()] == ["*", "raw/*"]

    def test_wrong_ones_are_refused(self, workspace: LocalWorkspace) -> None:
        with pytest.raises(InvalidInput, match="not at its end"):
            workspace.data.bind(TRIPS, "*/trips")
        workspace.data.add(TWICE, "trips")
        with pytest.raises(InvalidInput, match="no checks are given"):
            workspace.data.check("trips", [])
        with pytest.raises(InvalidInput, match="promises nothing"):
            workspace.data.bind(Suite("s", "d", ()))
        with pytest.raises(NotFound, match="was ever bound"):
            workspace.data.unbind_contract("trip")


def test_versions_of_a_contract(workspace: LocalWorkspace) -> None:
    room = workspace.data
    room.bind(TRIPS)
    assert room.bind(TRIPS).version == 1, "the same checks are the same version"
    room.bind(LOOSE)
    room.unbind_contract("trips", "no more")
    with pytest.raises(NotFound, match="any more"):
        room.unbind_contract("trips")
    room.bind(TRIPS)
    found = [
        (each.version, each.suite.name, each.bound, each.reason) for each in room.contract_versions("trips")
    ]
    assert found == [
        (4, "trips", True, ""),
        (3, "loose", False, "no more"),
        (2, "loose", True, ""),
        (1, "trips", True, ""),
    ]
    assert [event.action for event in workspace.governance.log(subject="contract:trips")] == [
        "contract.defined"
    ] * 4


class TestFunctions:
    MODULE = "import pyarrow.compute as pc\n\ndef near(rows):\n    return pc.less(rows['miles'], {})\n"

    @pytest.fixture
    def module(self, workspace: LocalWorkspace) -> Path:
        workspace.project.mkdir(parents=True, exist_ok=True)
        path = workspace.project / "near_checks.py"
        path.write_text(self.MODULE.format(500))
        return path

    def test_run_where_the_caller_is(self, workspace: LocalWorkspace, module: Path) -> None:
        suite = ev.checks(
            "near",
            dataset="trips",
            checks=[ev.check.python("near_checks.py:near", ["miles"], severity="quarantine")],
        )
        contract = workspace.data.bind(suite)
        assert len(contract.suite.checks[0].digest) == 64
        added = workspace.data.add(FAR, "trips")
        assert (added.rows, added.quarantined_rows) == (2, 1)

    def test_another_text_is_not_run(self, workspace: LocalWorkspace, module: Path) -> None:
        check = ev.check.python("near_checks.py:near", ["miles"])
        pinned = msgspec.structs.replace(check, digest="0" * 64)
        workspace.data.add(GOOD, "trips")
        report = workspace.data.check("trips", [pinned])
        assert not report.passed
        assert "has changed since it was bound" in report.checks[0].error

    def test_of_a_notebook_cannot_be_bound(self, workspace: LocalWorkspace) -> None:
        check = ev.check.python("__main__:near", ["miles"])
        with pytest.raises(InvalidInput, match="others cannot find"):
            workspace.data.bind_contract("trips", Suite("s", "trips", (check,)))


Run = Callable[..., tuple[int, Any]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    (tmp_path / ".everloop").mkdir()
    monkeypatch.chdir(tmp_path)
    for name, table in {"good": GOOD, "far": FAR, "twice": TWICE}.items():
        pq.write_table(table, tmp_path / f"{name}.parquet")

    def run(*arguments: str) -> tuple[int, Any]:
        code = main(["data", *arguments, "--json"])
        return code, json.loads(capsys.readouterr().out)

    return run


class TestCommands:
    def test_the_life_of_a_contract(self, run: Run, tmp_path: Path) -> None:
        assert run("add", "good.parquet", "--name", "trips")[0] == 0
        code, inferred = run("infer", "trips", "--out", "trips.toml")
        assert (code, inferred["path"]) == (0, "trips.toml")
        assert run("infer", "trips", "--out", "trips.toml")[0] == 2, "a file is not overwritten"
        assert run("infer", "trips", "--out", "nowhere/trips.toml")[0] == 2, "nor a folder made"
        code, bound = run("contract", "bind", "trips", "--checks", "trips.toml")
        assert (code, bound["pattern"], bound["version"]) == (0, "trips", 1)
        code, refused = run("add", "far.parquet", "--name", "trips")
        assert (code, refused["error"]["code"]) == (1, "refused")
        code, added = run("add", "far.parquet", "--name", "trips", "--without-contract", "a test")
        assert (code, added["report"]["waived"]) == (0, "a test")
        code, report = run("check", "trips@v2")
        assert (code, report["passed"], report["contract"]) == (1, False, "trips")
        assert run("check", "trips@v1")[0] == 0
        code, listed = run("contract", "list")
        assert [each["pattern"] for each in listed["contracts"]] == ["trips"]
        code, shown = run("contract", "show", "trips")
        assert shown["suite"]["name"] == "trips"
        assert run("contract", "unbind", "trips", "--reason", "over")[0] == 0
        code, history = run("contract", "history", "trips")
        assert [each["bound"] for each in history["contracts"]] == [False, True]
        assert [(each["reference"], each["waived"]) for each in history["reports"]] == [
            ("data:trips@v1", ""),
            ("data:trips@v2", ""),
            ("data:trips@v2", "a test"),
        ]
        assert run("contract", "show", "trips")[0] == 2

    def test_people_see_tables(self, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
        run("add", "twice.parquet", "--name", "trips")
        Path("trips.toml").write_text(
            'name = "trips"\ndataset = "trips"\n[[check]]\nkind = "key"\ncolumns = ["id"]\n'
        )
        assert main(["data", "contract", "bind", "trips", "--checks", "trips.toml"]) == 0
        assert main(["data", "check", "trips"]) == 1
        assert main(["data", "contract", "show", "trips"]) == 0
        assert main(["data", "contract", "show", "trips", "--toml"]) == 0
        assert main(["data", "contract", "history", "trips"]) == 0
        assert main(["data", "infer", "trips", "--python"]) == 0
        said = capsys.readouterr().out
        assert "trips is under contract, version 1: 1 checks at every add" in said
        assert "FAILED" in said
        assert 'kind = "key"' in said
        assert "check.has_type(column='id', type='int64')" in said

    @pytest.mark.parametrize(
        ("text", "error"),
        [
            ("name = 3", "checks.toml has no name"),
            ('name = "a"\ndataset = "b"\n[[check]]\nkind = "rnge"', "line 4: there is no check of kind 'rnge'"),
            ('name = "a"\ndataset = "b"\n\n[[check]]\nkind = "in_range"\ncolumn = "c"\nlo = 2', "line 7: in_range has no 'lo'"),
            ('name = "a"\ndataset = "b"\n[[check]]\nkind = "in_range"\ncolumn = "c"', "line 3: the range of 'c' has no limit"),
            ('name = "a"\ndataset = "b"\n[[check]]\nkind = "not_null"\ncolumn = 7', "line 5: not_null"),
            ('name = "a"\ndataset = "b"\n[[check]]\nkind = "expression"\nsql = "1"', "line 3: expression needs name"),
            ('name = "a"\ndataset = "b"\n[[check]]\nkind = "row_count"\nseverity = "quarantine"', "names no rows"),
            ('name = "a"\nwhat = "b"', "line 2: a file of checks has no 'what'"),
            ("name = \n", "line 1"),
        ],
    )  # fmt: skip
    def test_mistakes_in_a_file_name_the_line(self, run: Run, text: str, error: str) -> None:
        run("add", "good.parquet", "--name", "trips")
        Path("checks.toml").write_text(text)
        code, said = run("check", "trips", "--checks", "checks.toml")
        assert code == 2
        assert error in said["error"]["message"]
