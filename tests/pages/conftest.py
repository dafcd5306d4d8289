"""A real browser on a real server over a filled workspace. One browser and one filling serve the whole run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright
from tests.pages.filling import fill
from tests.support.workspaces import FakeClock, served

from everloop.client.ambient import using
from everloop.workspace.local import LocalWorkspace

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield launched
        launched.close()


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalWorkspace]:
    """A workspace with something in every room. Tests that change it leave it as they found it."""
    folder = tmp_path_factory.mktemp("pages")
    with (
        LocalWorkspace(folder / "flights", clock=FakeClock(datetime(2026, 1, 1, tzinfo=UTC))) as made,
        using(made),
    ):
        fill(made, folder / "files")
        yield made


@pytest.fixture(scope="session")
def site(filled: LocalWorkspace) -> Iterator[str]:
    with served(filled) as url:
        yield url


class Watched:
    """What a page did that nobody asked for."""

    def __init__(self, page: Page, own: str) -> None:
        self.said: list[str] = []
        self.elsewhere: list[str] = []
        self._own = own
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("request", self._request)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.said.append(message.text)

    def _request(self, request: Request) -> None:
        if not request.url.startswith((self._own, "data:", "blob:")):
            self.elsewhere.append(request.url)


@pytest.fixture(params=["light", "dark"])
def theme(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


def opened(browser: Browser, site: str, theme: str = "light", width: int = 1280) -> tuple[Page, Watched]:
    context = browser.new_context(
        base_url=site,
        color_scheme=theme,  # type: ignore[arg-type]
        viewport={"width": width, "height": 800},
    )
    context.set_default_timeout(10_000)
    page = context.new_page()
    return page, Watched(page, site)


@pytest.fixture
def page(browser: Browser, site: str) -> Iterator[Page]:
    """A page that must do nothing unasked: no message in the console, no request to anybody else."""
    made, watched = opened(browser, site)
    yield made
    made.context.close()
    assert watched.said == []
    assert watched.elsewhere == []
