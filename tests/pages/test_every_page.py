"""What holds for every page: it opens, quietly and alone, in light and dark, on narrow screens, for readers with aids."""

from __future__ import annotations

import html
import re
import shlex
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser
from tests.pages.aids import stumbling_blocks
from tests.pages.conftest import opened
from tests.pages.filling import NASTY

from everloop.cli.main import main
from everloop.workspace.local import LocalWorkspace


def addresses(workspace: LocalWorkspace) -> dict[str, str]:
    """One address for each kind of page."""
    runs = workspace.tracking.search("metrics.rmse > 0").runs
    flow = workspace.pipelines.past_runs("flow")[0].run
    sweep = workspace.pipelines.sweeps()[-1].run
    nasty = workspace.tracking.search("name like '%script%'").runs[0].run_id
    return {
        "overview": "/",
        "search": "/search?q=l",
        "data": "/data",
        "labels": "/labels",
        "dataset": "/data/flights",
        "version": "/data/flights@v3?against=2",
        "quarantine": "/data/flights/quarantine@v1",
        "features": "/features",
        "view": "/features/weather@v1",
        "runs": "/runs",
        "run": f"/runs/{runs[0].run_id}",
        "run by time": f"/runs/{runs[0].run_id}?x=time",
        "nasty run": f"/runs/{nasty}",
        "text": f"/runs/{nasty}/artifacts/notes/readme.txt",
        "compare": "/runs/compare?" + "&".join(f"ref={run.run_id}" for run in runs[:4]),
        "pipelines": "/pipelines",
        "pipeline": "/pipelines/train",
        "pipeline run": f"/runs/{flow}",
        "step of a run": f"/runs/{flow}/steps/2",
        "step": "/steps/flow.py::fit",
        "sweeps": "/sweeps",
        "sweep": f"/sweeps/{sweep}",
        "lineage of a version": "/lineage?ref=model:delay@v1&up=3",
        "models": "/models",
        "model": "/models/delay",
        "model version": "/models/delay@v1",
        "refused version": "/models/delay@v3",
        "endpoints": "/endpoints",
        "endpoint": "/endpoints/delay",
        "rollout": f"/rollouts/{workspace.rollout.rollouts()[0].rollout_id}",
        "prediction": f"/predictions/{newest_prediction(workspace)}",
        "alerts": "/alerts?state=all",
        "alert": f"/alerts/{workspace.monitoring.alerts()[0].alert_id}",
        "audit": "/audit",
        "verify": "/audit/verify",
    }


def newest_prediction(workspace: LocalWorkspace) -> str:
    table = workspace.serving.predictions("delay", settle=False)
    found: str = table["prediction_id"][-1].as_py()
    return found


DRAWN = """
    () => [...document.querySelectorAll("[data-plot], [data-lineage]")]
        .every((each) => each.querySelector(".canvas").childElementCount > 0)
"""
"""Whether all plots and graphs of a page are there."""


@pytest.mark.timeout(300)  # every page of the site
def test_every_page_opens_quietly_alone_and_within_its_width_and_aids_can_read_it(
    browser: Browser, site: str, filled: LocalWorkspace, theme: str
) -> None:
    page, watched = opened(browser, site, theme, width=1280 if theme == "light" else 1024)
    blocks = {}
    for name, address in addresses(filled).items():
        answer = page.goto(address)
        assert answer is not None
        assert answer.status == 200, (name, page.inner_text("main"))
        page.wait_for_function(DRAWN)
        assert watched.said == [], name
        assert watched.elsewhere == [], name
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{name} is too wide"
        assert page.locator(".plot .wrong").count() == 0, f"a plot of {name} cannot be drawn"
        assert page.locator(".as-command code").count() > 0, f"{name} does not say its command"
        if found := stumbling_blocks(page, theme):
            blocks[name] = found
    page.context.close()
    assert blocks == {}


@pytest.mark.parametrize("kind", ["run", "data", "parameter"])
def test_a_hostile_name_is_only_a_name(
    browser: Browser, site: str, filled: LocalWorkspace, kind: str
) -> None:
    page, watched = opened(browser, site)
    dialogs: list[Any] = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog), dialog.dismiss()))
    places = {
        "run": ["runs", "nasty run", "text", "search", "overview", "audit"],
        "data": ["data", "dataset"],
        "parameter": ["compare", "run"],
    }[kind]
    everything = addresses(filled) | {
        "search": "/search?q=%3Cscript%3E",
        "dataset": "/data/team/weather",
        "compare": "/runs/compare?"
        + "&".join(f"ref={run.run_id}" for run in filled.tracking.search("experiment = 'delay'").runs[:3]),
    }
    for name in places:
        page.goto(everything[name])
        assert page.locator("main script:not([type='application/json'])").count() == 0, name
    assert dialogs == []
    assert watched.said == []
    page.context.close()


def test_the_name_is_shown_as_it_is(browser: Browser, site: str, filled: LocalWorkspace) -> None:
    page, _ = opened(browser, site)
    page.goto("/runs")
    assert page.get_by_role("link", name=NASTY).is_visible()
    page.get_by_role("link", name=NASTY).click()
    assert page.get_by_role("heading", level=1).inner_text() == NASTY
    page.context.close()


def test_what_does_not_exist_says_so_and_names_the_nearest(browser: Browser, site: str) -> None:
    page, _ = opened(browser, site)
    answer = page.goto("/models/delya")
    assert answer is not None
    assert answer.status == 404
    assert "delay" in page.inner_text("main")
    for address in ("/runs/ffff", "/data/nothing@v1", "/alerts/ffffffff", "/nowhere", "/sweeps/ffff"):
        answer = page.goto(address)
        assert answer is not None
        assert answer.status == 404, address
    page.context.close()


RUNS_SOMETHING = ("everloop run ",)
"""Commands that would do what the page tells of once more."""


COMMAND = re.compile(r'<footer class="command">.*?<code[^>]*>(.*?)</code>', re.DOTALL)


def test_the_command_below_a_page_can_be_given(
    site: str, filled: LocalWorkspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the server wrote it; that a browser shows it is seen above."""
    commands = {}
    with httpx.Client(base_url=site, timeout=60) as client:
        for name, address in addresses(filled).items():
            (command,) = COMMAND.findall(client.get(address).raise_for_status().text)
            commands[html.unescape(command)] = name
    monkeypatch.setenv("EVERLOOP_WORKSPACE", str(filled.project))
    refused = {}
    for command, name in commands.items():
        program, *arguments = shlex.split(command)
        assert program == "everloop"
        if not command.startswith(RUNS_SOMETHING) and main([*arguments, "--json"]) != 0:
            refused[command] = (name, capsys.readouterr().out[-300:])
    assert refused == {}
