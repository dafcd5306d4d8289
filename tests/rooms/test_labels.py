"""Labelling, as annotators and reviewers meet it: who is given what, what counts, and what is kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.workspaces import FakeClock

import everloop as ev
from everloop.domain.labels import Asks, EntryKind, ItemState, Order, Question
from everloop.errors import Conflict, InvalidInput, NotFound, PermissionDenied
from everloop.governance.identity import Actor, Role, acting_as
from everloop.workspace.local import LocalWorkspace
from everloop.workspace.workspace import Workspace

TONE = ev.question("tone", ["good", "bad", "mixed"])


@contextmanager
def person(name: str) -> Iterator[None]:
    with acting_as(Actor(name, Role.ENGINEER)):
        yield


def reviews(rows: int) -> pa.Table:
    return pa.table(
        {"id": [f"r{at}" for at in range(rows)], "text": [f"review {at} of it" for at in range(rows)]}
    )


def begun(workspace: Workspace, rows: int = 5, **more: object) -> None:
    workspace.data.add(reviews(rows), "reviews")
    workspace.labels.create("tone", "reviews", [TONE], text="text", key="id", **more)


def label(workspace: Workspace, user: str, item: int, tone: str) -> str:
    with person(user):
        entry: str = workspace.labels.annotate("tone", item, {"tone": tone}).id
    return entry


def test_the_same_for_a_workspace_here_and_behind_a_server(any_workspace: Workspace) -> None:
    begun(any_workspace, rows=3)
    labels = any_workspace.labels
    given = labels.next_item("tone")
    assert (given.item.key, given.content) == ("r0", {"text": "review 0 of it"})
    entry = labels.annotate("tone", 0, {"tone": "good"}, seconds=2.5)
    assert (entry.kind, entry.answers, entry.source, entry.guidelines) == (
        EntryKind.LABEL,
        {"tone": "good"},
        "data:reviews@v1",
        1,
    )
    assert labels.next_item("tone").item.key == "r1"
    labels.skip("tone", 1, comment="no idea")
    assert labels.next_item("tone").item.key == "r2"
    progress = labels.progress("tone")
    assert (progress.items, progress.open, progress.done, progress.answers) == (3, 2, 1, 1)
    (me,) = progress.annotators
    assert (me.labelled, me.skipped, me.seconds) == (1, 1, 2.5)
    added = labels.export("tone", "reviews/labelled")
    assert any_workspace.data.dataset(added.reference).to_arrow().to_pylist() == [
        {
            "id": "r0",
            "text": "review 0 of it",
            "tone": "good",
            "annotators": 1,
            "label_agreement": 1.0,
            "reviewed": False,
        }
    ]
    assert "data:reviews@v1" in [link.source for link in any_workspace.provenance.why(added.reference).upward]


def test_an_item_is_given_to_one_annotator_at_a_time_until_their_time_is_over(
    workspace: LocalWorkspace, clock: FakeClock
) -> None:
    begun(workspace, rows=2, lease_seconds=60)
    with person("ana"):
        assert workspace.labels.next_item("tone").item.number == 0
        assert workspace.labels.next_item("tone").item.number == 0, "asked again, it is the same one"
    with person("ben"):
        assert workspace.labels.next_item("tone").item.number == 1
    with person("cyn"):
        nothing = workspace.labels.next_item("tone")
        assert (nothing.item, nothing.elsewhere) == (None, 2)
        clock.advance(seconds=61)
        assert workspace.labels.next_item("tone").item.number == 0, "ana's minute is over"


def test_an_item_is_asked_as_many_annotators_as_it_needs_and_nobody_twice(workspace: LocalWorkspace) -> None:
    begun(workspace, rows=2, overlap=2)
    given: dict[str, list[int]] = {}
    for _ in range(3):
        for user in ("ana", "ben", "cyn"):
            with person(user):
                found = workspace.labels.next_item("tone")
                if found.item is not None:
                    given.setdefault(user, []).append(found.item.number)
                    workspace.labels.annotate("tone", found.item.number, {"tone": "good"})
    assert sorted(item for items in given.values() for item in items) == [0, 0, 1, 1]
    assert all(len(set(items)) == len(items) for items in given.values())
    assert workspace.labels.progress("tone").done == 2


def test_what_was_said_before_stays_in_the_history(workspace: LocalWorkspace) -> None:
    begun(workspace)
    first = label(workspace, "ana", 0, "good")
    second = label(workspace, "ana", 0, "bad")
    with person("ana"):
        undone = workspace.labels.undo("tone")
    history = workspace.labels.history("tone", 0)
    assert [(each.id, each.kind, each.replaces, each.counts) for each in history] == [
        (first, "label", None, True),
        (second, "label", first, False),
        (undone.id, "undo", second, False),
    ]
    with person("ana"):
        workspace.labels.undo("tone")
        assert workspace.labels.progress("tone").answers == 0
        assert workspace.labels.next_item("tone").item.number == 0, "what was taken back is asked again"
        with pytest.raises(NotFound, match="nothing of yours"):
            workspace.labels.undo("tone")
    with person("ben"), pytest.raises(NotFound):
        workspace.labels.undo("tone")


def test_a_reviewer_accepts_sends_back_or_corrects(workspace: LocalWorkspace) -> None:
    begun(workspace, rows=3)
    entries = [label(workspace, "ana", at, "good") for at in range(3)]
    with person("ana"), pytest.raises(PermissionDenied, match="their own"):
        workspace.labels.accept("tone", entries[0])
    with person("ana"):
        assert workspace.labels.next_review("tone") is None
    with person("rex"):
        assert workspace.labels.next_review("tone").number == 0
        workspace.labels.accept("tone", entries[0])
        with pytest.raises(InvalidInput, match="reason"):
            workspace.labels.reject("tone", entries[1], " ")
        workspace.labels.reject("tone", entries[1], "read it again")
        workspace.labels.correct("tone", entries[2], {"tone": "bad"}, "irony")
        assert workspace.labels.next_review("tone") is None
    states = [each.state for each in workspace.labels.items("tone")]
    assert states == [ItemState.REVIEWED, ItemState.OPEN, ItemState.REVIEWED]
    with person("ana"):
        again = workspace.labels.next_item("tone")
        assert (again.item.number, again.rejected) == (1, "rex: read it again")
        with pytest.raises(Conflict, match="reviewed"):
            workspace.labels.annotate("tone", 0, {"tone": "bad"})
        workspace.labels.annotate("tone", 1, {"tone": "mixed"})
    reviewed = workspace.labels.export("tone", "final", policy="reviewed")
    rows = workspace.data.dataset(reviewed.reference).to_arrow().to_pylist()
    assert [(row["id"], row["tone"]) for row in rows] == [("r0", "good"), ("r2", "bad")]
    assert (reviewed.rows, reviewed.undecided) == (2, 1)
    everything = workspace.labels.export("tone", "every", policy="all")
    rows = workspace.data.dataset(everything.reference).to_arrow().to_pylist()
    assert [(row["id"], row["tone"], row["annotator"]) for row in rows] == [
        ("r0", "good", "ana"),
        ("r1", "mixed", "ana"),
        ("r2", "good", "ana"),
    ]


def test_agreement_is_told_by_question_with_its_interval(workspace: LocalWorkspace) -> None:
    begun(workspace, rows=4, overlap=2)
    for item, (one, two) in enumerate([("good", "good"), ("bad", "bad"), ("good", "bad"), ("bad", "bad")]):
        label(workspace, "ana", item, one)
        label(workspace, "ben", item, two)
    (found,) = workspace.labels.agreement("tone")
    assert (found.items, found.annotators) == (4, ["ana", "ben"])
    alpha, kappa, percent = found.coefficients
    assert percent.estimate == 0.75
    assert percent.interval is not None
    assert percent.interval.low < 0.75 < percent.interval.high
    assert kappa.estimate == pytest.approx(1 - 0.25 / (1 - (3 / 8) ** 2 - (5 / 8) ** 2))
    assert alpha.estimate > kappa.estimate
    (pair,) = found.pairs
    assert (pair.first, pair.second, pair.kappa.estimate) == ("ana", "ben", 0.5)
    assert [each.key for each in workspace.labels.items("tone", differs=True)] == ["r2"]
    with person("rex"):
        assert workspace.labels.next_review("tone", differs=True).key == "r2"


def test_what_a_model_knows_least_is_asked_first(workspace: LocalWorkspace) -> None:
    begun(workspace, rows=4)
    sure = pa.table(
        {"good": [0.9, 0.4, 0.6, 1.0], "bad": [0.05, 0.3, 0.4, 0.0], "mixed": [0.05, 0.3, 0.0, 0.0]}
    )
    assert workspace.labels.suggest("tone", sure, "model:tone@v1") == 4
    assert workspace.labels.next_item("tone").suggestions[0].answers == {"tone": "good"}
    for by, expected in (
        (Order.ENTROPY, [1, 2, 0, 3]),
        (Order.MARGIN, [1, 2, 0, 3]),
        (Order.CONFIDENCE, [1, 2, 0, 3]),
    ):
        workspace.labels.arrange("tone", by)
        assert [each.number for each in workspace.labels.items("tone")] == expected, by
    with pytest.raises(InvalidInput, match="two models"):
        workspace.labels.arrange("tone", Order.DISAGREEMENT)
    other = pa.table({"item": ["r3", "r0"], "prediction": ["bad", "good"], "score": [0.5, 0.6]})
    workspace.labels.suggest("tone", other, "other")
    workspace.labels.arrange("tone", Order.DISAGREEMENT)
    assert workspace.labels.items("tone")[0].number == 3
    workspace.labels.arrange("tone", Order.RANDOM, seed=1)
    shuffled = [each.number for each in workspace.labels.items("tone")]
    workspace.labels.arrange("tone", Order.GIVEN)
    assert [each.number for each in workspace.labels.items("tone")] == [0, 1, 2, 3]
    workspace.labels.arrange("tone", Order.RANDOM, seed=1)
    assert [each.number for each in workspace.labels.items("tone")] == shuffled


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ({"tone": "god"}, "'god' is no answer"),
        ({"tone": ["good"]}, "no answer"),
        ({}, "not answered"),
        ({"tune": "good"}, "nothing called 'tune' is asked"),
    ],
)
def test_an_answer_that_does_not_fit_is_refused(
    workspace: LocalWorkspace, answers: dict[str, object], message: str
) -> None:
    begun(workspace)
    with pytest.raises(InvalidInput, match=message):
        workspace.labels.annotate("tone", 0, answers)
    assert workspace.labels.history("tone", 0) == []


def test_wrong_names_get_a_hint(workspace: LocalWorkspace) -> None:
    begun(workspace)
    with pytest.raises(NotFound) as error:
        workspace.labels.project("tona")
    assert error.value.hint == "did you mean 'tone'?"
    with pytest.raises(NotFound, match="no item 99"):
        workspace.labels.annotate("tone", 99, {"tone": "good"})
    with pytest.raises(Conflict, match="already"):
        workspace.labels.create("tone", "reviews", [TONE], text="text")
    with pytest.raises(InvalidInput, match="does not name an item"):
        workspace.data.add(pa.table({"id": [1, 1], "text": ["a", "b"]}), "twice")
        workspace.labels.create("twice", "twice", [TONE], text="text", key="id")


def test_guidelines_are_numbered_and_entries_say_by_which_they_were_made(workspace: LocalWorkspace) -> None:
    begun(workspace, guidelines="Be kind.")
    label(workspace, "ana", 0, "good")
    workspace.labels.write_guidelines("tone", "Be *strict*.")
    label(workspace, "ana", 1, "good")
    entries = [workspace.labels.history("tone", item)[0].guidelines for item in (0, 1)]
    assert entries == [1, 2]
    assert workspace.labels.project("tone").guidelines == "Be *strict*."


def test_wrong_labels_are_found_by_what_a_model_thinks_of_them(workspace: LocalWorkspace) -> None:
    words = {"good": "lovely warm great", "bad": "awful cold broken"}
    texts = [f"{words['good' if at % 2 else 'bad']} number {at}" for at in range(40)]
    workspace.data.add(pa.table({"text": texts}), "words")
    two = Question(name="tone", kind=Asks.SINGLE, choices=("good", "bad"))
    workspace.labels.create("words", "words", [two], text="text")
    for at in range(40):
        truth = "good" if at % 2 else "bad"
        given = {"good": "bad", "bad": "good"}[truth] if at in (6, 11) else truth
        workspace.labels.annotate("words", at, {"tone": given})
    report = workspace.labels.errors("words")
    assert {each.item for each in report.candidates} == {"6", "11"}
    assert report.candidates[0].given != report.candidates[0].suggested
    assert report.share == pytest.approx(2 / 40, abs=0.02)
    done = workspace.labels.export("words", "words/labelled")
    table = workspace.labels.errors(done.reference, question="tone", columns=["text"])
    assert {each.item for each in table.candidates} == {"6", "11"}


def test_what_was_augmented_is_known_for_it(workspace: LocalWorkspace) -> None:
    workspace.data.add(reviews(3), "reviews")
    more = pa.concat_tables([reviews(3), reviews(3)])
    steps = [ev.augmentation(name="synonyms", parameters={"share": 0.1}, copies=1, seed=7)]
    made = workspace.labels.augment("reviews", more, "reviews/augmented", steps)
    assert (made.source, made.reference) == ("data:reviews@v1", "data:reviews/augmented@v1")
    assert workspace.labels.augmentations("reviews/augmented@v1")[0].steps == steps
    links = workspace.provenance.why(made.reference).upward
    assert [(link.source, link.role) for link in links] == [("data:reviews@v1", "augmented")]


def test_the_ledger_still_verifies_after_all_this(workspace: LocalWorkspace) -> None:
    begun(workspace, overlap=2)
    first = label(workspace, "ana", 0, "good")
    with person("ana"):
        workspace.labels.next_item("tone")
        workspace.labels.undo("tone")
    label(workspace, "ben", 0, "good")
    workspace.labels.arrange("tone", Order.RANDOM, seed=3)
    workspace.labels.export("tone", "out", policy="all")
    assert first
    assert workspace.governance.verify().ok


Moves = st.lists(
    st.tuples(
        st.sampled_from(["ana", "ben", "cyn"]), st.sampled_from(["label", "skip", "undo", "review", "wait"])
    ),
    max_size=40,
)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(moves=Moves, overlap=st.integers(1, 3))
def test_counts_are_those_of_the_history_whatever_people_do(
    tmp_path_factory: pytest.TempPathFactory, moves: list[tuple[str, str]], overlap: int
) -> None:
    """The queue's own counts, worked out again from nothing but the history."""
    clock = FakeClock()
    with LocalWorkspace(tmp_path_factory.mktemp("labels"), clock=clock) as workspace:
        begun(workspace, rows=3, overlap=overlap)
        labels = workspace.labels
        for at, (user, move) in enumerate(moves):
            with person(user):
                _do(labels, clock, move, at)
        for item in labels.items("tone"):
            standing = _replayed(labels.history("tone", item.number))
            labelled = [kind for kind in standing.values() if kind == "label"]
            assert (item.labelled, item.skipped) == (len(labelled), len(standing) - len(labelled))
            counted = [each for each in labels.history("tone", item.number) if each.counts]
            assert len(counted) == item.labelled
            if item.state is not ItemState.REVIEWED:
                assert (item.state is ItemState.DONE) == (item.labelled >= overlap)


def _do(labels: object, clock: FakeClock, move: str, at: int) -> None:
    if move == "wait":
        clock.advance(seconds=700)
    elif move == "undo":
        try:
            labels.undo("tone")
        except (NotFound, Conflict):
            return
    elif move == "review":
        found = labels.next_review("tone")
        if found is not None:
            mine = [each for each in labels.history("tone", found.number) if each.counts]
            for each in mine[:1]:
                try:
                    labels.reject("tone", each.id, "again") if at % 2 else labels.accept("tone", each.id)
                except PermissionDenied:
                    return
    else:
        given = labels.next_item("tone")
        if given.item is not None and move == "label":
            labels.annotate("tone", given.item.number, {"tone": ("good", "bad")[at % 2]})
        elif given.item is not None:
            labels.skip("tone", given.item.number)


def _replayed(history: list[object]) -> dict[str, str]:
    """What each annotator says, from the history alone."""
    stacks: dict[str, list[object]] = {}
    sent_back: set[str] = set()
    for entry in history:
        if entry.kind in ("label", "skip"):
            stacks.setdefault(entry.user, []).append(entry)
        elif entry.kind == "undo":
            stacks[entry.user] = [each for each in stacks[entry.user] if each.id != entry.replaces]
        elif entry.kind == "reject":
            sent_back.add(entry.replaces)
    return {
        user: str(stack[-1].kind) for user, stack in stacks.items() if stack and stack[-1].id not in sent_back
    }


def test_a_project_stands_in_the_lineage_between_what_it_asks_about_and_what_was_made_of_it(
    any_workspace: Workspace,
) -> None:
    begun(any_workspace, rows=3)
    labels, why = any_workspace.labels, any_workspace.provenance.why
    labels.suggest("tone", pa.table({"good": [0.9] * 3, "bad": [0.1] * 3, "mixed": [0.0] * 3}), "model:m@v1")
    labels.annotate("tone", 0, {"tone": "good"})
    made = labels.export("tone", "labelled").reference
    found = why("labels:tone")
    assert (found.kind, found.complete) == ("labels", True)
    assert found.summary == "1 of 3 items have their answers"
    assert {(link.source, link.role) for link in found.parents} == {
        ("data:reviews@v1", "labelled"),
        ("model:m@v1", "suggested"),
    }
    assert [(link.target, link.role) for link in found.children] == [(made, "exported")]
    assert why("tone").reference == "labels:tone"
    assert labels.made_of("tone") == [made]
    assert "labels:tone" in {link.source for link in why(made).parents}
    with pytest.raises(NotFound) as error:
        why("labels:tune")
    assert error.value.hint == "did you mean 'tone'?"


def test_a_closed_project_takes_no_answers_until_it_is_opened_again(any_workspace: Workspace) -> None:
    begun(any_workspace, rows=3)
    labels = any_workspace.labels
    mine = labels.annotate("tone", 0, {"tone": "good"}).id
    assert labels.next_item("tone").item.key == "r1"
    closed = labels.close("tone", "enough for now").closed
    assert closed is not None
    assert labels.close("tone").closed == labels.project("tone").closed == closed
    assert labels.next_item("tone").item is None
    for said in (
        lambda: labels.annotate("tone", 1, {"tone": "bad"}),
        lambda: labels.skip("tone", 1),
        lambda: labels.undo("tone"),
        lambda: labels.accept("tone", mine),
        lambda: labels.record_entries("tone", [], "elsewhere"),
    ):
        with pytest.raises(Conflict, match=r"^labels:tone is closed: nothing is said of its items any more"):
            said()
    assert labels.export("tone", "labelled").rows == 1
    assert labels.reopen("tone").closed is None
    assert labels.next_item("tone").item.key == "r1"
    labels.annotate("tone", 1, {"tone": "bad"})
    closing = [each.action for each in any_workspace.governance.log(subject="labels:tone")]
    assert [each for each in closing if each in ("labels.closed", "labels.reopened")] == [
        "labels.closed",
        "labels.reopened",
    ]


def test_a_version_that_is_being_labelled_is_not_removed_by_accident(workspace: LocalWorkspace) -> None:
    begun(workspace, rows=3)
    workspace.data.add(reviews(4), "reviews")
    for reference in ("reviews@v1", "reviews"):
        with pytest.raises(
            Conflict, match=r"^labels:tone asks about the items of data:reviews@v1"
        ) as refused:
            workspace.data.remove(reference)
        assert refused.value.hint is not None
        assert "--force" in refused.value.hint
    assert workspace.data.version("reviews@v1").removed is None
    assert [each.version for each in workspace.data.remove("reviews@v2")] == [2]
    assert workspace.data.remove("reviews@v1", force=True)[0].removed is not None
