"""The same on Postgres: results, claims, reasons."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import pytest

from everloop.domain.runs import Owner
from everloop.pipelines.pipelines import Pipelines
from everloop.workspace.local import LocalWorkspace

STEPS = """
    import everloop as ev

    @ev.step
    def square(x): return x * x

    @ev.step
    def total(xs): return sum(xs)

    @ev.pipeline
    def squares(count: int = 5): return total(square.map(range(count)))
    """


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_results_reasons_and_claims(
    database: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / f"squares_{database}.py").write_text(textwrap.dedent(STEPS))
    ledger = request.getfixturevalue("postgres_url") if database == "postgres" else ""
    (tmp_path / "everloop.toml").write_text(f'ledger = "{ledger}"\n')
    with LocalWorkspace(tmp_path) as workspace:
        room = workspace.room(Pipelines)
        name = f"squares_{database}:squares"
        first = room.run(name, executor="inline")
        assert (first.value(), first.executed) == (30, 6)
        assert room.run(name, executor="inline").executed == 0
        more = room.run(name, {"count": 6}, executor="inline")
        assert more.value() == 55
        assert more.executed == 2
        assert more.step("total").reason == "input xs changed"
        assert (
            room.keys_before(more.steps[1].step, ["square[1]", "square[9]"]).components("square[9]")
            is not None
        )

        here, gone = Owner("here", 0, 0.0), Owner("elsewhere", 0, 0.0)
        keys = ["a" * 64, "b" * 64]
        assert [each.granted for each in room.claim(keys, "one", gone, ["", ""])] == [True, True]
        second = room.claim(keys, "two", here, ["", ""])
        assert [(each.granted, each.owner) for each in second] == [(False, "one"), (False, "one")]
        room.release(keys[:1], "one")
        assert [each.granted for each in room.claim(keys, "two", here, ["", ""])] == [True, False]
    sys.modules.pop(f"squares_{database}", None)
