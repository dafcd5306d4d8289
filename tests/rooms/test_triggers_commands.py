"""`everloop triggers` as typed, beside a workspace and against a server."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.workspaces import served

from everloop.cli.main import main
from everloop.workspace.local import LocalWorkspace

DEFINITIONS = """
import everloop as ev

@ev.step
def note(day):
    assert day != "fails", "no such day"
    return day

@ev.pipeline
def refresh(day="never"):
    return note(day)

nightly = ev.trigger(
    "nightly", pipeline=refresh, cron="30 2 * * *", zone="Europe/Paris", params={"day": "{scheduled:%Y-%m-%d}"}, executor="inline"
)
asked = ev.trigger("asked", pipeline=refresh, executor="inline")

@ev.pipeline
def needy(who, day="never"):
    return note(day)

told = ev.trigger("told", pipeline=needy)
"""

Everloop = Callable[..., Any]


@pytest.fixture(params=["local", "remote"])
def everloop(
    request: pytest.FixtureRequest,
    workspace: LocalWorkspace,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Everloop]:
    """Runs a command: its JSON (with the exit code, when that is not 0), or with `text` what it prints."""
    (workspace.project / "typed_flow.py").write_text(DEFINITIONS)
    monkeypatch.chdir(workspace.project)

    def run(*arguments: str, text: bool = False) -> Any:
        code = main(["triggers", *arguments, *([] if text else ["--json"])])
        out = capsys.readouterr().out
        if text:
            assert code == 0, out
            return out
        assert len(out.splitlines()) == 1, out
        found = json.loads(out)
        return (code, found) if code else found

    if request.param == "local":
        monkeypatch.setenv("EVERLOOP_WORKSPACE", str(workspace.project))
        yield run
        return
    with served(workspace) as url:
        monkeypatch.setenv("EVERLOOP_WORKSPACE", url)
        yield run


def test_declared_listed_fired_paused_and_gone_through(everloop: Everloop) -> None:
    applied = everloop("apply", "typed_flow.py")
    assert [each["name"] for each in applied["triggers"]] == ["asked", "nightly", "told"]
    nightly = everloop("list")["triggers"][1]
    assert (nightly["kind"], nightly["on"], nightly["starts"]) == (
        "cron",
        "30 2 * * * Europe/Paris",
        "typed_flow.py:refresh",
    )
    assert nightly["next"] is not None

    first = everloop("fire", "asked", "--commit", "abc", "--param", "day=today")["firings"][0]
    again = everloop("fire", "asked", "--commit", "abc")["firings"][0]
    assert (first["id"], first["params"], first["status"]) == (again["id"], {"day": "today"}, "waiting")

    assert everloop("pause", "nightly", "--because", "holidays")["trigger"]["paused_because"] == "holidays"
    code, refused = everloop("fire", "nightly")
    assert (code, refused["error"]["code"]) == (2, "conflict")
    assert refused["error"]["hint"] == "everloop triggers resume nightly"
    assert everloop("resume", "nightly")["trigger"]["paused"] is None

    days = ("--since", "2025-03-29", "--until", "2025-03-31")
    made = everloop("backfill", "nightly", *days)
    assert made["backfill"]["counts"] == {"waiting": 3}
    assert [each["params"]["day"] for each in made["firings"]] == ["2025-03-29", "2025-03-30", "2025-03-31"]
    again = everloop("backfill", "nightly", *days)
    assert (again["backfill"]["left_alone"], again["firings"]) == (3, [])

    assert [each["status"] for each in everloop("history", "--limit", "9")["firings"]] == ["waiting"] * 4
    shown = everloop("show", "nightly")
    assert (len(shown["firings"]), len(shown["backfills"])) == (3, 1)
    assert everloop("remove", "nightly") == {"removed": "nightly"}
    left = everloop("history", "nightly", "--status", "skipped")["firings"]
    assert [each["reason"] for each in left] == ["the trigger was withdrawn"] * 3


def test_what_is_not_there_is_named(everloop: Everloop) -> None:
    everloop("apply", "typed_flow.py")
    code, refused = everloop("show", "nigthly")
    assert (code, refused["error"]["hint"]) == (2, "did you mean 'nightly'?")
    code, refused = everloop("backfill", "asked", "--since", "2026-01-01", "--until", "2026-01-02")
    assert "has no times to go through" in refused["error"]["message"]
    code, refused = everloop("backfill", "nightly", "--since", "yesterday", "--until", "2026-01-02")
    assert code == 2
    assert "'yesterday' is not an instant" in refused["error"]["message"]

    for command in (
        ("fire", "asked"),
        ("backfill", "nightly", "--since", "2025-01-01", "--until", "2025-01-02"),
    ):
        code, refused = everloop(*command, "--param", "dya=x")
        assert (code, refused["error"]["hint"]) == (2, "did you mean 'day'?")
        assert "typed_flow.py:refresh has no parameter 'dya'" in refused["error"]["message"]
    code, refused = everloop("fire", "told")
    assert (code, refused["error"]["hint"]) == (2, "say it: --param who=…")
    assert everloop("history") == {"firings": []}
    assert everloop("fire", "told", "--param", "who=me")["firings"][0]["params"] == {"who": "me"}


def test_people_read_tables(everloop: Everloop) -> None:
    everloop("apply", "typed_flow.py", text=True)
    assert "30 2 * * * Europe/Paris" in everloop("list", text=True)
    assert "1 firing waits for everloop up" in everloop("fire", "asked", text=True)
    assert "asked for by" in everloop("history", "asked", text=True)
    shown = everloop("show", "nightly", text=True)
    assert "makes up for" in shown
    assert "day={scheduled:%Y-%m-%d}" in shown


@pytest.mark.parametrize("everloop", ["local"], indirect=True)
def test_without_a_server_tick_and_wait_carry_out(everloop: Everloop) -> None:
    everloop("apply", "typed_flow.py")
    (done,) = everloop("fire", "asked", "--wait")["firings"]
    assert done["status"] == "finished"
    assert done["run"].startswith("run:")
    assert everloop("tick") == {"firings": []}
    code, answer = everloop("fire", "asked", "--wait", "--param", "day=fails")
    assert (code, answer["firings"][0]["status"]) == (1, "failed")
    assert "no such day" in answer["firings"][0]["reason"]

    days = ("nightly", "--since", "2025-03-29", "--until", "2025-03-30", "--wait")
    code, answer = everloop("backfill", *days, "--param", "day=fails")
    assert (code, answer["backfill"]["counts"]) == (1, {"failed": 2})
    again = everloop("backfill", *days)
    assert (again["backfill"]["counts"], again["backfill"]["left_alone"]) == ({"finished": 2}, 0)

    day = ("nightly", "--since", "2025-04-01", "--until", "2025-04-01", "--wait", "--param", "day=fails")
    assert everloop("backfill", *day)[0] == 1
    mended = DEFINITIONS.replace('day != "fails"', "day").replace(
        'refresh(day="never")', 'refresh(day="never", more=1)'
    )
    Path("typed_flow.py").write_text(
        mended
    )  # its run has another parameter now: it is no end of the one that failed
    assert everloop("backfill", *day)["firings"][0]["status"] == "finished"
