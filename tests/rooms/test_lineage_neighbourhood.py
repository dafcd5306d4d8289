"""The lineage around an object, level by level, in a ledger with a hub of ten thousand."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from tests.support.hubs import CHILDREN, add_hub

from everloop.errors import NotFound
from everloop.store.schema.base import edges
from everloop.workspace.local import LocalWorkspace
from everloop.workspace.neighbourhoods import EACH, Opening


@pytest.fixture
def hub(workspace: LocalWorkspace) -> LocalWorkspace:
    add_hub(workspace)
    return workspace


def test_of_ten_thousand_neighbours_the_newest_are_told_and_the_others_counted(hub: LocalWorkspace) -> None:
    found = hub.provenance.neighbourhood("flights", up=2, down=1)
    assert found.reference == "data:flights@v2"
    levels = {each.reference: each.level for each in found.nodes}
    assert levels["data:flights@v1"] == -1
    middle = found.nodes[0]
    assert (middle.level, middle.below) == (0, CHILDREN - EACH)
    newest = f"run:{CHILDREN - 1:032x}"
    assert levels[newest] == 1
    assert len(found.nodes) < 3 * EACH


def test_what_is_opened_is_shown_and_the_picture_has_an_end(hub: LocalWorkspace) -> None:
    opening = Opening("data:flights@v2", upward=False, each=40)
    found = hub.provenance.neighbourhood("data:flights", up=0, down=1, opened=[opening])
    assert found.nodes[0].below == CHILDREN - 40
    assert not found.capped
    opening = Opening("data:flights@v2", upward=False, each=1000)
    found = hub.provenance.neighbourhood("data:flights", up=0, down=1, opened=[opening])
    assert found.capped
    assert len(found.nodes) == 300


def test_a_hidden_kind_is_looked_through(hub: LocalWorkspace) -> None:
    with hub.ledger.transaction("test") as tx:
        newest = f"run:{CHILDREN - 1:032x}"
        row = {"source": newest, "target": "model:delay@v1", "role": "produced", "time": tx.now}
        tx.execute(sa.insert(edges), [row])
    found = hub.provenance.neighbourhood("data:flights", up=0, down=1, hidden=["run"])
    assert [(each.reference, each.level) for each in found.nodes] == [
        ("data:flights@v2", 0),
        ("model:delay@v1", 1),
    ]
    [tie] = found.ties
    assert (tie.source, tie.target, tie.through) == ("data:flights@v2", "model:delay@v1", 1)


def test_a_wrong_name_names_the_nearest(hub: LocalWorkspace) -> None:
    with pytest.raises(NotFound) as error:
        hub.provenance.neighbourhood("fligths")
    assert "data:flights" in error.value.hint
