"""Outlines, excerpts, keys: what tables of very many runs are made of. And comments on runs."""

from __future__ import annotations

import math
from typing import Any

import pytest
import sqlalchemy as sa

from everloop.domain.direct import RunFacts
from everloop.errors import InvalidInput, NotFound
from everloop.store.schema.tracking import runs
from everloop.tracking import outlining
from everloop.workspace.local import LocalWorkspace
from everloop.workspace.workspace import Workspace


def fill(workspace: Workspace, count: int = 12) -> list[str]:
    """Runs of three models, the oldest first; every fourth has the three after it as children."""
    made: list[str] = []
    parent = None
    for at in range(count):
        run = workspace.tracking.create_run(
            name=f"run {at}",
            params={"model": ("tree", "linear", "forest")[at % 3], "at": str(at)},
            tags={"stage": "dev"} if at % 2 else {},
            parent=None if at % 4 == 0 else parent,
        )
        parent = run.run_id if at % 4 == 0 else parent
        made.append(run.run_id)
    return made


def test_an_outline_has_the_order_of_the_search(any_workspace: Workspace) -> None:
    fill(any_workspace)
    for where, order in (
        ("", []),
        ("params.at > 3", ["params.at desc"]),
        ("params.model = 'tree'", ["name"]),
    ):
        found = any_workspace.tracking.search(where, order_by=order).runs
        outline = any_workspace.tracking.outline(where, order_by=order)
        assert outline.run_ids == [run.run_id for run in found]
        assert outline.matching == len(found)
        assert outline.groups == outline.depths == outline.context == []


def test_a_metric_sorts_an_outline_as_it_sorts_the_search(
    workspace: LocalWorkspace, monkeypatch: Any
) -> None:
    fill(workspace, 3)  # without the metric
    for value in (2.0, math.nan, -math.inf, 2.0, math.inf, 1.0, math.nan, 2.0):
        with workspace.tracking.start("more", params={"model": "tree"}) as run:
            run.log_metrics({"rmse": 9.0}, step=0)
            run.log_metrics({"rmse": value}, step=1)
    orders = [
        f"{metric}(metrics.rmse){way}" for metric in ("min", "max", "mean", "first") for way in ("", " desc")
    ]
    orders += ["metrics.rmse", "metrics.rmse desc"]
    for order in orders:
        found = [run.run_id for run in workspace.tracking.search(order_by=[order]).runs]
        at_hand = workspace.tracking.outline(
            order_by=[order], group_by="params.model", spreads=[order.split()[0]]
        )
        assert workspace.tracking.outline(order_by=[order]).run_ids == found
        with monkeypatch.context() as few:
            few.setattr(outlining, "MOST_OUTLINED", 5)  # then the database sorts and sums
            in_database = workspace.tracking.outline(
                order_by=[order], group_by="params.model", spreads=[order.split()[0]], limit=5
            )
        assert in_database.matching == at_hand.matching == len(found) == 11
        assert (
            in_database.run_ids == workspace.tracking.outline(order_by=[order], limit=5).run_ids == found[:5]
        )
        spreads = {group.value: repr(group.spreads) for group in at_hand.groups}
        assert {group.value: repr(group.spreads) for group in in_database.groups}.items() <= spreads.items()


def test_beyond_the_limit_runs_are_counted(any_workspace: Workspace) -> None:
    made = fill(any_workspace)
    outline = any_workspace.tracking.outline(limit=5)
    assert outline.run_ids == made[::-1][:5]
    assert outline.matching == 12


def test_groups_come_in_the_order_of_their_first_run_and_say_how_a_metric_spreads(
    workspace: LocalWorkspace,
) -> None:
    fill(workspace, 7)
    with workspace.tracking.start("more", params={"model": "tree"}) as one:
        one.log_metric("rmse", 2.0)
    with workspace.tracking.start("more", params={"model": "tree"}) as two:
        two.log_metric("rmse", 4.0)
    with workspace.tracking.start("more", params={"model": "tree"}) as three:
        three.log_metric("rmse", math.nan)
    with workspace.tracking.start("more"):
        pass
    outline = workspace.tracking.outline(group_by="params.model", spreads=["metrics.rmse"])
    assert [(group.value, group.runs) for group in outline.groups] == [
        (None, 1),
        ("tree", 6),
        ("forest", 2),
        ("linear", 2),
    ]
    assert [group.first for group in outline.groups] == [0, 1, 7, 9]
    spread = outline.groups[1].spreads[0]
    assert (spread.runs, spread.mean, spread.min, spread.max) == (2, 3.0, 2.0, 4.0)


def test_runs_stand_below_their_parents_also_where_those_do_not_match(any_workspace: Workspace) -> None:
    made = fill(any_workspace)
    outline = any_workspace.tracking.outline("params.at = 2 or params.at = 9", nested=True)
    assert outline.run_ids == [made[8], made[9], made[0], made[2]]
    assert outline.depths == [0, 1, 0, 1]
    assert outline.context == [0, 2]
    assert outline.matching == 2
    whole = any_workspace.tracking.outline(nested=True)
    assert sorted(whole.run_ids) == sorted(made)
    assert whole.context == []


def test_a_nest_keeps_to_the_order(any_workspace: Workspace) -> None:
    made = fill(any_workspace, 8)
    outline = any_workspace.tracking.outline(order_by=["params.at"], nested=True)
    assert outline.run_ids == made
    assert outline.depths == [0, 1, 1, 1, 0, 1, 1, 1]


def test_runs_cannot_be_below_themselves_and_are_listed_where_a_store_says_so(
    workspace: LocalWorkspace,
) -> None:
    tracking = workspace.tracking
    first = tracking.create_run(name="first").run_id
    second = tracking.create_run(name="second", parent=first).run_id
    third = tracking.create_run(name="third", parent=second).run_id
    with pytest.raises(InvalidInput, match="above"):
        tracking.record(first, facts=RunFacts(parent=third))
    with workspace.ledger.transaction("another tool") as tx:
        tx.execute(sa.update(runs).where(runs.c.id == first).values(parent=third))
    outline = tracking.outline(nested=True)
    assert outline.run_ids == [first, second, third]
    assert outline.depths == [0, 1, 2]
    alone = tracking.outline("name = 'second'", nested=True)
    assert alone.run_ids == [third, first, second]
    assert alone.context == [0, 1]


def test_what_cannot_be_grouped_by_says_so(any_workspace: Workspace) -> None:
    for word in ("metrics.rmse", "start_time"):
        with pytest.raises(InvalidInput, match="grouped"):
            any_workspace.tracking.outline(group_by=word)
    with pytest.raises(InvalidInput):
        any_workspace.tracking.outline("metrics.rmse <")


def test_excerpts_have_the_cells_asked_for_and_nothing_else(workspace: LocalWorkspace) -> None:
    with workspace.tracking.start("x", params={"alpha": 0.5}, tags={"stage": "dev"}) as run:
        for value in (0.3, 0.1, 0.2):
            run.log_metric("val/loss", value)
        run.log_metric("broken", math.nan)
    other = workspace.tracking.create_run(name="other", parent=None)
    child = workspace.tracking.create_run(parent=other.run_id)
    columns = [
        "metrics.`val/loss`",
        "min(metrics.`val/loss`)",
        "params.alpha",
        "tags.stage",
        "metrics.broken",
    ]
    asked = [other.run_id, run.run_id, "f" * 32]
    rows = workspace.tracking.excerpts(asked, columns)
    assert [row.run_id for row in rows] == [other.run_id, run.run_id]
    assert rows[0].cells == [None] * 5
    assert rows[1].cells == ["0.2", "0.1", "0.5", "dev", "NaN"]
    assert [row.children for row in rows] == [1, 0]
    assert workspace.tracking.excerpts([child.run_id])[0].parent == other.run_id


def test_keys_are_found_by_a_part_of_them(workspace: LocalWorkspace) -> None:
    fill(workspace, 3)
    with workspace.tracking.start("x", params={"Alpha": 0.5, "model": 7}) as run:
        run.log_metric("val/loss", 1.0)
    every = workspace.tracking.run_keys()
    assert [(each.key, each.runs, each.numeric) for each in every.params] == [
        ("model", 4, False),
        ("at", 3, True),
        ("Alpha", 1, True),
    ]
    found = workspace.tracking.run_keys("LO")
    assert [each.key for each in found.metrics] == ["val/loss"]
    assert found.params == []
    assert workspace.tracking.run_keys(experiment=["x"], containing="a").params[0].runs == 1


def test_comments_are_kept_changed_and_taken_back(any_workspace: Workspace) -> None:
    run = any_workspace.tracking.create_run(name="one")
    first = any_workspace.tracking.comment(run.run_id, "  it **works**  ")
    any_workspace.tracking.comment("one", "does it?")
    assert [each.text for each in any_workspace.tracking.comments(run.run_id)] == ["it **works**", "does it?"]
    edited = any_workspace.tracking.edit_comment(first.id, "it does not")
    assert edited.edited is not None
    assert edited.created == first.created
    any_workspace.tracking.delete_comment(first.id)
    assert [each.text for each in any_workspace.tracking.comments(run.run_id)] == ["does it?"]
    with pytest.raises(NotFound):
        any_workspace.tracking.delete_comment(first.id)
    with pytest.raises(InvalidInput):
        any_workspace.tracking.comment(run.run_id, "  ")


def test_comments_go_with_a_purged_run(workspace: LocalWorkspace) -> None:
    run = workspace.tracking.create_run(name="one")
    workspace.tracking.comment(run.run_id, "soon gone")
    workspace.tracking.delete_runs([run.run_id])
    workspace.tracking.purge_runs([run.run_id])
    with pytest.raises(NotFound):
        workspace.tracking.comments(run.run_id)
    assert [event.action for event in workspace.governance.log(subject=run.reference)][-1] == "run.purged"


def test_a_filter_offers_the_newest_experiments_and_the_chosen_one(
    workspace: LocalWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from everloop.server.pages import experiments

    tracking = workspace.tracking
    for name in ("first", "second", "third"):
        tracking.create_experiment(name)
    few = experiments.offered(workspace, "first")
    assert [each.name for each in few.experiments] == ["Default", "first", "second", "third"]
    assert (few.has_more, few.anything) == (False, False)
    monkeypatch.setattr(experiments, "MOST_OFFERED", 2)
    for chosen, extra in (("first", ["first"]), ("third", []), ("nowhere", []), ("", [])):
        found = experiments.offered(workspace, chosen)
        assert [each.name for each in found.experiments] == ["Default", *extra, "third"]  # made last of all
        assert (found.has_more, found.anything) == (True, True)
