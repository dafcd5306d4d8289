"""What a page can change about models, endpoints and alerts: a button says what will happen; done once, told, recorded
in the name of who did it; refused with the reason."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect
from tests.pages.conftest import opened
from tests.pages.filling import fill
from tests.support.workspaces import FakeClock, served

from everloop.client.ambient import using
from everloop.domain.rollouts import State
from everloop.governance.identity import Role, local_user
from everloop.workspace.local import LocalWorkspace

GATES = """
import everloop as ev

delay = ev.gates(
    "delay",
    ev.gate.better_than(margin=-0.05),  # about as good will do here
    ev.gate.provenance_complete(),
    evaluation=ev.gate.evaluation(label="late", data="evaluation", block="day"),
)
"""


GATES_TAKE = 60_000
"""Milliseconds in which gates are asked in a process of their own, on a busy machine."""


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A filled workspace on disk, from which each test gets its own."""
    folder = tmp_path_factory.mktemp("actions")
    with LocalWorkspace(folder / "flights", clock=FakeClock()) as made, using(made):
        fill(made, folder / "files")
        made.rollout.abort("delay", because="of an earlier day")
    (folder / "flights" / "definitions.py").write_text(GATES)
    (folder / "flights" / "everloop.toml").write_text('definitions = ["definitions.py"]\n')
    return folder / "flights"


@pytest.fixture
def own(original: Path, tmp_path: Path) -> Iterator[LocalWorkspace]:
    shutil.copytree(original, tmp_path / "flights")
    with LocalWorkspace(tmp_path / "flights") as made, using(made):
        yield made


@pytest.fixture
def page(own: LocalWorkspace, browser: Browser) -> Iterator[Page]:
    with served(own) as url:
        made, watched = opened(browser, url)
        yield made
        made.context.close()
        assert watched.said == []


def told(page: Page) -> str:
    expect(page.locator(".told")).to_be_visible(timeout=GATES_TAKE)
    expect(page.locator(".told")).to_be_focused()
    return page.locator(".told").inner_text()


def newest(own: LocalWorkspace, action: str) -> dict[str, object]:
    (event,) = own.governance.log(actions=[action], limit=1, newest_first=True)
    assert event.actor == local_user().user
    return event.payload


def test_a_version_that_passes_its_gates_is_promoted(page: Page, own: LocalWorkspace) -> None:
    page.goto("/models/delay@v2")
    page.get_by_role("button", name="Promote…").click()
    sheet = page.get_by_role("dialog", name="Promote")
    expect(sheet).to_contain_text("everloop models promote delay@v2 --to champion")
    sheet.get_by_label("Alias").select_option("challenger")
    sheet.get_by_label("Why (optional)").fill("the next one")
    sheet.get_by_role("button", name="Ask the gates").click()
    said = told(page)
    assert said == "delay@v2 is challenger now; it passed 2 gates."
    assert own.registry.version("delay@challenger").version == 2
    assert own.registry.alias_history("delay")[0].reason == "the next one (passed 2 gates)"
    assert newest(own, "model.promoted")["because"] == "the next one"
    expect(page.locator("header.head .tag.on")).to_have_text("challenger")
    assert page.url.endswith("/models/delay@v2"), "the page is the one it was"


def test_a_version_that_its_gates_refuse_stays_what_it_was_and_the_page_says_why(
    page: Page, own: LocalWorkspace
) -> None:
    page.goto("/models/delay@v3")
    page.get_by_role("button", name="Promote…").click()
    page.get_by_role("dialog").get_by_role("button", name="Ask the gates").click()
    said = told(page)
    assert "delay@v3 was refused as champion" in said
    assert "better_than" in said
    assert own.registry.version("delay@champion").version == 1
    assert newest(own, "model.refused")["alias"] == "champion"


def test_definitions_that_cannot_be_imported_are_a_sentence(page: Page, own: LocalWorkspace) -> None:
    (own.project / "definitions.py").write_text("import nothing_of_this_name\n")
    page.goto("/models/delay@v2")
    page.get_by_role("button", name="Promote…").click()
    page.get_by_role("dialog").get_by_role("button", name="Ask the gates").click()
    assert "nothing_of_this_name" in told(page)
    assert page.get_by_role("alert").count() == 1


def test_a_rollout_is_started_from_the_model_and_aborted_on_its_own_page(
    page: Page, own: LocalWorkspace
) -> None:
    page.goto("/models/delay@v2")
    page.get_by_role("link", name="Roll out at delay").click()
    page.get_by_role("button", name="Start a rollout…").click()
    sheet = page.get_by_role("dialog", name="Start a rollout")
    expect(sheet.get_by_label("Version")).to_have_value("model:delay@v2")
    sheet.get_by_role("button", name="Start", exact=True).click()
    assert "The rollout of delay@v2 has begun" in told(page)
    assert "it answers nobody yet" in told(page)
    begun = own.rollout.status("delay")
    assert begun.candidate == "model:delay@v2"
    expect(page.get_by_role("button", name="Roll back…")).to_have_count(0)
    page.goto(f"/rollouts/{begun.rollout_id}")
    page.get_by_role("button", name="Abort…").click()
    sheet = page.get_by_role("dialog", name="Abort")
    expect(sheet).to_contain_text("It has answered nobody yet; delay@v1 goes on answering")
    sheet.get_by_label("Why (optional)").fill("changed our minds")
    sheet.get_by_role("button", name="Abort the rollout").click()
    assert "The rollout of delay@v2 is aborted; delay@v1 answers 'delay'" in told(page)
    assert own.rollout.status("delay").state is State.ABORTED
    assert newest(own, "rollout.aborted")["reason"] == "aborted by hand: changed our minds"
    expect(page.get_by_role("button", name="Abort…")).to_have_count(0)


def test_a_canary_is_rolled_back_and_a_promoted_one_too(page: Page, own: LocalWorkspace) -> None:
    own.rollout.start("delay", "delay@v2", strategy="canary")
    page.goto("/endpoints/delay?days=30")
    page.get_by_role("button", name="Roll back…").click()
    sheet = page.get_by_role("dialog", name="Roll back")
    expect(sheet).to_contain_text("delay@v1 answers all requests again, at once, instead of delay@v2.")
    sheet.get_by_role("button", name="Cancel").click()
    expect(sheet).to_be_hidden()
    assert own.rollout.status("delay").state is State.CANARY
    page.get_by_role("button", name="Roll back…").click()
    sheet.get_by_role("button", name="Roll back", exact=True).click()
    assert "model:delay@v1 answers 'delay' again instead of model:delay@v2" in told(page)
    assert own.rollout.status("delay").state is State.ROLLED_BACK
    assert page.locator("a[aria-current=true]", has_text="30 days").count() == 1, "as the page was"

    own.rollout.start("delay", "delay@v2", strategy="bluegreen")
    page.reload()
    page.get_by_role("button", name="Promote now…").click()
    page.get_by_role("dialog", name="Promote now").get_by_role("button", name="Promote now").click()
    assert "delay@v2 answers 'delay' now" in told(page)
    assert own.registry.version("delay@champion").version == 2
    page.get_by_role("button", name="Roll back…").click()
    sheet.get_by_role("button", name="Roll back", exact=True).click()
    expect(page.locator(".told")).to_contain_text("model:delay@v1 answers 'delay' again")
    assert own.registry.version("delay@champion").version == 1


def test_a_candidate_that_its_gates_refuse_is_not_promoted_by_hand(page: Page, own: LocalWorkspace) -> None:
    own.rollout.start("delay", "delay@v3", strategy="canary")
    page.goto("/endpoints/delay")
    page.get_by_role("button", name="Promote now…").click()
    page.get_by_role("dialog").get_by_role("button", name="Promote now").click()
    assert "the registry refuses it as champion: better_than champion" in told(page)
    assert own.rollout.status("delay").state is State.CANARY


def test_out_of_the_shadow_nothing_is_rolled_back(own: LocalWorkspace) -> None:
    """The candidate has answered nobody: what the command says and what is recorded is that its rollout is aborted."""
    own.rollout.start("delay", "delay@v2")
    done = own.rollout.rollback("delay", because="not now")
    assert not done.answered
    assert done.sentence.startswith("the rollout of model:delay@v2 is aborted; it had answered nobody")
    assert newest(own, "rollout.aborted")["reason"] == "aborted by hand: not now"


def test_a_server_that_is_gone_is_said(own: LocalWorkspace, browser: Browser) -> None:
    own.rollout.start("delay", "delay@v2", strategy="canary")
    with served(own) as url:
        page, _ = opened(browser, url)  # the console reports the request that failed
        page.goto("/endpoints/delay")
        page.route("**/rollback", lambda route: route.abort())
        page.get_by_role("button", name="Roll back…").click()
        page.get_by_role("dialog").get_by_role("button", name="Roll back", exact=True).click()
        expect(page.locator("#toast")).to_have_text("The server does not answer: nothing was done.")
        page.context.close()
    assert own.rollout.status("delay").state is State.CANARY


def test_what_was_decided_meanwhile_is_said(page: Page, own: LocalWorkspace) -> None:
    own.rollout.start("delay", "delay@v2", strategy="canary")
    page.goto("/endpoints/delay")
    own.rollout.rollback("delay")
    page.get_by_role("button", name="Roll back…").click()
    page.get_by_role("dialog").get_by_role("button", name="Roll back", exact=True).click()
    assert "'delay' has no model to go back to" in told(page)


def test_an_alert_is_silenced_with_a_reason(page: Page, own: LocalWorkspace) -> None:
    alert = own.monitoring.alerts(state="open")[0]
    page.goto(f"/alerts/{alert.alert_id}")
    expect(page.locator("main")).to_contain_text(f"everloop alerts ack {alert.alert_id[:12]}")
    page.get_by_role("button", name="Silence…").click()
    sheet = page.get_by_role("dialog", name="Silence")
    sheet.get_by_role("button", name="Silence", exact=True).click()
    expect(sheet).to_be_visible()  # the reason is needed
    sheet.get_by_label("Why nobody needs to be called").fill("known, mended on Monday")
    sheet.get_by_label("For").select_option("3")
    sheet.get_by_role("button", name="Silence", exact=True).click()
    assert "Nobody is called about it until" in told(page)
    silent = own.monitoring.alert(alert.alert_id)
    assert silent.silenced_because == "known, mended on Monday"
    assert silent.silenced_until is not None
    assert timedelta(days=2.9) < silent.silenced_until - own.clock() <= timedelta(days=3)
    assert newest(own, "alert.silenced")["because"] == "known, mended on Monday"


def test_without_scripts_it_works_too(own: LocalWorkspace) -> None:
    own.rollout.start("delay", "delay@v2", strategy="canary")
    with served(own) as url, httpx.Client(base_url=url, headers={"Accept": "text/html"}) as client:
        done = client.post("/endpoints/delay/rollback", data={"because": "slow"})
        assert (done.status_code, done.headers["location"]) == (303, "/endpoints/delay")
        again = client.post("/endpoints/delay/rollback")
        assert again.status_code == 409
        assert "has no model to go back to" in again.text
        assert "<h1>delay</h1>" in again.text
    assert own.rollout.status("delay").reason == "rolled back by hand: slow"


DEEDS = [
    "/models/delay@v2/promote",
    "/models/delay@v2/deprecate",
    "/endpoints/delay/rollback",
    "/endpoints/delay/abort",
    "/endpoints/delay/promote",
    "/endpoints/delay/rollout",
    "/rollouts/ROLLOUT/rollback",
    "/alerts/ALERT/silence",
    "/alerts/ALERT/ack",
]


def test_who_may_only_look_changes_nothing_and_sees_why(own: LocalWorkspace, browser: Browser) -> None:
    own.rollout.start("delay", "delay@v2", strategy="canary")
    rollout, alert = own.rollout.status("delay"), own.monitoring.alerts(state="open")[0]
    secret = own.governance.create_token("visitor", Role.VIEWER).secret
    before = own.governance.log(limit=1, newest_first=True)[0].seq
    cookies = {"everloop_token": secret}
    with served(own) as url, httpx.Client(base_url=url, cookies=cookies) as client:
        for deed in DEEDS:
            address = deed.replace("ROLLOUT", rollout.rollout_id).replace("ALERT", alert.alert_id)
            fields = {"because": "mischief", "model": "delay@v3", "days": "3"}
            answer = client.post(address, data=fields)
            assert answer.status_code == 403, address
            assert "visitor is viewer and may not write" in answer.text
        page, _ = opened(browser, url)
        page.context.add_cookies([{"name": "everloop_token", "value": secret, "url": url}])
        page.goto("/endpoints/delay")
        button = page.get_by_role("button", name="Roll back…")
        expect(button).to_be_disabled()
        assert "viewer" in (button.get_attribute("title") or "")
        page.context.close()
    assert own.governance.log(limit=1, newest_first=True)[0].seq == before


def test_pages_of_others_change_nothing(own: LocalWorkspace) -> None:
    own.rollout.start("delay", "delay@v2", strategy="canary")
    with served(own) as url, httpx.Client(base_url=url) as client:
        for headers in ({"Origin": "http://elsewhere.example"}, {"Origin": "null"}):
            answer = client.post("/endpoints/delay/rollback", headers=headers)
            assert answer.status_code == 403
    assert own.rollout.status("delay").state is State.CANARY
