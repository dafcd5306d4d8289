"""Label Studio's files: what is said in one is said in the other, and what has no place is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everloop.domain.labels import Asks, Question, Shown, checked_answers
from everloop.errors import InvalidInput
from everloop.exchange.labelstudio.config import read_config, write_config
from everloop.exchange.labelstudio.moving import export_tasks, import_tasks
from everloop.exchange.labelstudio.regions import answers_of, regions_of
from everloop.exchange.labelstudio.tasks import read_tasks
from everloop.workspace.local import LocalWorkspace

TEXT = "Ana met Ben in Rome."
CONFIG = """
<View>
  <Header value="What is it about?"/>
  <Text name="doc" value="$text"/>
  <Choices name="tone" toName="doc" choice="single" required="true">
    <Choice value="Positive"/><Choice value="Negative"/>
  </Choices>
  <Choices name="topics" toName="doc" choice="multiple"><Choice value="travel"/><Choice value="people"/></Choices>
  <Labels name="entities" toName="doc"><Label value="PER"/><Label value="LOC"/></Labels>
  <Rating name="stars" toName="doc" maxRating="5"/>
  <TextArea name="why" toName="doc"/>
  <Brush name="paint" toName="doc"/>
</View>
"""


def exported() -> list[dict[str, Any]]:
    """As Label Studio writes it: two tasks, three annotations, one of them cancelled, and a prediction."""
    regions = [
        {
            "id": "a1",
            "from_name": "tone",
            "to_name": "doc",
            "type": "choices",
            "value": {"choices": ["Positive"]},
        },
        {
            "id": "a2",
            "from_name": "entities",
            "to_name": "doc",
            "type": "labels",
            "value": {"start": 0, "end": 3, "text": "Ana", "labels": ["PER"]},
            "meta": {"text": ["a friend"]},
        },
        {"id": "a3", "from_name": "stars", "to_name": "doc", "type": "rating", "value": {"rating": 4}},
        {
            "id": "a4",
            "from_name": "why",
            "to_name": "doc",
            "type": "textarea",
            "value": {"text": ["it is kind"]},
        },
        {"id": "a5", "from_name": "paint", "to_name": "doc", "type": "brushlabels", "value": {"rle": [1]}},
    ]
    first = {
        "id": 11,
        "data": {"text": TEXT, "source": "diary"},
        "annotations": [
            {
                "id": 1,
                "completed_by": 7,
                "result": regions,
                "was_cancelled": False,
                "ground_truth": False,
                "created_at": "2025-03-01T10:00:00.000000Z",
                "lead_time": 12.5,
            },
            {
                "id": 2,
                "completed_by": {"id": 8, "email": "ben@example.org"},
                "result": [regions[0] | {"value": {"choices": ["Negative"]}}],
                "ground_truth": True,
            },
        ],
        "predictions": [{"id": 3, "model_version": "v1", "score": 0.8, "result": regions[:1]}],
        "project": 1,
        "total_annotations": 2,
    }
    second = {
        "id": 12,
        "data": {"text": "Rain.", "source": None},
        "annotations": [{"id": 4, "completed_by": 7, "was_cancelled": True, "result": []}],
        "drafts": [{"id": 5}],
    }
    return [first, second]


def test_a_file_becomes_a_project_and_the_rest_is_told(workspace: LocalWorkspace, tmp_path: Path) -> None:
    file = tmp_path / "tasks.json"
    file.write_text(json.dumps(exported()))
    done = import_tasks(workspace, "diary", file, config=CONFIG, users={"7": "ana"})
    assert (done.tasks, done.added, done.predictions, done.source) == (2, 3, 1, "data:diary/tasks@v1")
    assert {(each.where, each.reason) for each in done.skipped} == {
        ('<Brush name="paint">', "<Brush> is not known here"),
        ("task 11, annotation 1, region 2", "'meta' has no place here"),
        ("task 11, annotation 1, region 5", "'paint' (brushlabels) is not asked here"),
        ("task 11, annotation 2", "that it is the ground truth is not taken over: accept it in a review"),
        ("task 12", "its drafts have no place here"),
    }
    first, second = workspace.labels.history("diary", 0)
    assert (first.user, first.seconds, first.created.isoformat()) == (
        "ana",
        12.5,
        "2025-03-01T10:00:00+00:00",
    )
    assert first.answers == {
        "tone": "Positive",
        "entities": [{"label": "PER", "start": 0, "end": 3}],
        "stars": 4,
        "why": "it is kind",
    }
    assert (second.user, second.answers["tone"]) == ("ben@example.org", "Negative")
    assert [each.kind for each in workspace.labels.history("diary", 1)] == ["skip"]
    again = import_tasks(workspace, "diary", file, users={"7": "ana"})
    assert (again.added, again.known) == (0, 3)


def test_what_was_exported_comes_back_the_same(workspace: LocalWorkspace, tmp_path: Path) -> None:
    (tmp_path / "tasks.json").write_text(json.dumps(exported()))
    import_tasks(workspace, "diary", tmp_path / "tasks.json", config=CONFIG, users={"7": "ana"})
    done = export_tasks(workspace, "diary", tmp_path / "out.json", CONFIG)
    assert (done.tasks, done.annotations, done.predictions) == (2, 3, 1)
    written = json.loads((tmp_path / "out.json").read_text())
    region = written[0]["annotations"][0]["result"][0]
    assert region["value"] == {"choices": ["Positive"]}
    assert (region["from_name"], region["to_name"], region["type"]) == ("tone", "doc", "choices")
    entity = next(each for each in written[0]["annotations"][0]["result"] if each["from_name"] == "entities")
    assert entity["value"] == {"start": 0, "end": 3, "text": "Ana", "labels": ["PER"]}
    config = (tmp_path / "out.xml").read_text()
    back = import_tasks(workspace, "again", tmp_path / "out.json", config=config)
    assert [each.where for each in back.skipped] == ["<Header>", '<Brush name="paint">'][1:]
    for item in range(2):
        said = [(each.user, each.kind, each.answers) for each in workspace.labels.history("diary", item)]
        assert [
            (each.user, each.kind, each.answers) for each in workspace.labels.history("again", item)
        ] == said


def test_pictures_find_their_files(workspace: LocalWorkspace, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    (folder / "a").mkdir(parents=True)
    gif = b"GIF89a" + (20).to_bytes(2, "little") + (10).to_bytes(2, "little") + bytes(20)
    (folder / "a" / "cat.gif").write_bytes(gif)
    (folder / "dog.gif").write_bytes(gif + b"!")
    workspace.data.add(folder, "pets")
    xml = (
        '<View><Image name="img" value="$photo"/><RectangleLabels name="where" toName="img"><Label value="cat"/>'
        '<Label value="dog"/></RectangleLabels></View>'
    )
    workspace.labels.create("pets", "pets", read_config(xml).questions)
    box = {"x": 10.5, "y": 20, "width": 30.25, "height": 40, "rotation": 0, "rectanglelabels": ["cat"]}
    region = {
        "from_name": "where",
        "to_name": "img",
        "type": "rectanglelabels",
        "original_width": 20,
        "original_height": 10,
        "image_rotation": 0,
        "value": box,
    }
    tasks = [
        {
            "id": 1,
            "data": {"photo": "/data/local-files/?d=pictures/a/cat.gif"},
            "annotations": [{"result": [region]}],
        },
        {"id": 2, "data": {"photo": "/data/upload/1/1234abcd-dog.gif"}, "annotations": [{"result": []}]},
        {"id": 3, "data": {"photo": "/data/upload/1/cow.gif"}, "annotations": [{"result": []}]},
    ]
    (tmp_path / "t.json").write_text(json.dumps(tasks))
    done = import_tasks(workspace, "pets", tmp_path / "t.json")
    assert (done.added, [each.where for each in done.skipped]) == (2, ["task 3"])
    export_tasks(workspace, "pets", tmp_path / "out.json", xml)
    first, second = json.loads((tmp_path / "out.json").read_text())
    assert first["data"] == {"photo": "a/cat.gif"}
    (back,) = first["annotations"][0]["result"]
    assert back["value"] == box
    assert back["to_name"] == "img"
    assert (back["original_width"], back["original_height"]) == (20, 10)
    assert second["annotations"][0]["result"] == []


QUESTIONS = (
    Question(name="tone", kind=Asks.SINGLE, choices=("a", "b", "<c>"), on="text", required=False),
    Question(name="topics", kind=Asks.MULTI, choices=("x", "y", "z"), on="text", required=False),
    Question(name="marks", kind=Asks.SPANS, choices=("PER", "LOC"), on="text", required=False),
    Question(name="stars", kind=Asks.RATING, on="text", required=False),
    Question(name="size", kind=Asks.NUMBER, on="text", required=False),
    Question(name="why", kind=Asks.TEXT, on="text", required=False),
    Question(name="where", kind=Asks.BOXES, choices=("cat", "dog"), on="image", required=False),
)
SHOWN = (Shown("text", "text"), Shown("image", "image"))
_boxes = st.builds(
    lambda label, x, y, width, height, rotation: {
        "label": label,
        "x": x,
        "y": y,
        "width": width + 0.5,
        "height": height + 0.5,
        "rotation": rotation,
    },
    st.sampled_from(["cat", "dog"]),
    *[st.floats(0, 49, allow_nan=False, width=32)] * 4,
    st.sampled_from([0.0, 30.0]),
)
_spans = st.builds(
    lambda label, start, length: {"label": label, "start": start, "end": start + length},
    st.sampled_from(["PER", "LOC"]),
    st.integers(0, 10),
    st.integers(1, 9),
)
_answers = st.fixed_dictionaries(
    {},
    optional={
        "tone": st.sampled_from(["a", "b", "<c>"]),
        "topics": st.lists(st.sampled_from(["x", "y", "z"]), unique=True),
        "marks": st.lists(_spans, max_size=4),
        "stars": st.integers(1, 5),
        "size": st.integers(-(10**9), 10**9) | st.floats(-1e9, 1e9, allow_nan=False),
        "why": st.text(min_size=1, max_size=40),
        "where": st.lists(_boxes, max_size=4),
    },
)


@given(raw=_answers)
def test_any_answer_survives_the_way_there_and_back(raw: dict[str, Any]) -> None:
    answers = checked_answers(QUESTIONS, raw)
    content = {"text": TEXT, "image": {"width": 640, "height": 480}}
    over_the_wire = json.loads(json.dumps(regions_of(QUESTIONS, answers, content)))
    skipped: list[Any] = []
    assert answers_of(QUESTIONS, over_the_wire, "here", skipped) == answers
    assert skipped == []


def test_a_configuration_survives_the_way_there_and_back() -> None:
    found = read_config(write_config(QUESTIONS, SHOWN))
    assert (found.questions, found.shown, found.skipped) == (QUESTIONS, SHOWN, [])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("<View>", "no XML"),
        ("<View><Text name='t' value='$text'/></View>", "asks nothing"),
        ('<!DOCTYPE x [<!ENTITY a "b">]><View/>', "entities"),
        ("<View><Text name='t' value='$t'/><Choices name='c' toName='t'/></View>", "asks nothing"),
    ],
)
def test_a_configuration_that_cannot_be_used_says_why(config: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        read_config(config)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("{", "no JSON"),
        ("[1]", "no list of tasks"),
        ('[{"id": 1, "data": 3}]', "no object"),
        ('[{"id": 1, "data": {}, "annotations": [{"result": 3}]}]', "no list"),
        ('[{"data": {}, "annotations": 3}]', "lists of objects"),
    ],
)
def test_a_file_that_is_none_says_why(file: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        read_tasks(file, QUESTIONS)


def test_bare_objects_are_tasks_that_nobody_has_seen(workspace: LocalWorkspace, tmp_path: Path) -> None:
    (tmp_path / "bare.json").write_text('[{"text": "a", "n": 1}, {"text": "b", "n": 2.5}]')
    done = import_tasks(workspace, "bare", tmp_path / "bare.json", config=CONFIG)
    assert (done.tasks, done.added) == (2, 0)
    assert workspace.data.dataset("bare/tasks").to_arrow() == pa.table(
        {"task": ["1", "2"], "text": ["a", "b"], "n": [1.0, 2.5]}
    )
    assert workspace.labels.next_item("bare").content == {"text": "a"}
