"""What a step says it takes and returns is what passes; own types pass by a registered serialiser."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NewType, Protocol, TypedDict

import numpy as np
import pyarrow as pa
import pytest
from tests.support.projects import Project, project_in

from everloop.errors import InvalidDefinition
from everloop.pipelines.steps import step
from everloop.pipelines.values.checking import misfit
from everloop.workspace.local import LocalWorkspace

Row = NewType("Row", int)


class Named(TypedDict):
    name: str


class Readable(Protocol):
    def read(self) -> str: ...


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (1, float),
        (np.float32(1), float),
        (np.int64(3), int),
        (np.bool_(True), bool),
        ([1, None], list[int | None]),
        ((1, "a"), tuple[int, str]),
        ((1, 2, 3), tuple[int, ...]),
        ({"a": [1.0]}, dict[str, list[float]]),
        ({"a": 1}, Mapping[str, int]),
        ([1], Sequence[int]),
        ({"name": "x"}, Named),
        ("mae", Literal["mae", "rmse"]),
        (3, Row),
        (object(), Readable),
        ({1}, Any),
        (None, None),
    ],
)
def test_what_fits(value: Any, wanted: Any) -> None:
    assert misfit(value, wanted) is None


@pytest.mark.parametrize(
    ("value", "wanted", "found"),
    [
        ("1", int, ("", "a str")),
        (1.5, int, ("", "a float")),
        (1, bool, ("", "an int")),
        ([1, "2"], list[int], ("[1]", "a str")),
        ((1, 2, 3), tuple[int, str], ("", "a tuple of 3")),
        ({"a": [None]}, dict[str, list[float]], ("['a'][0]", "None")),
        ({1: 1}, dict[str, int], (" key 1", "an int")),
        ("mse", Literal["mae", "rmse"], ("", "'mse'")),
        ({"x": [1]}, pa.Table, ("", "a dict")),
        (pa.table({"x": [1]}), int | None, ("", "a pyarrow.Table")),
    ],
)
def test_what_does_not(value: Any, wanted: Any, found: tuple[str, str]) -> None:
    assert misfit(value, wanted) == found


@pytest.fixture
def project(workspace: LocalWorkspace) -> Iterator[Project]:
    with project_in(workspace) as made:
        made.write(
            "work.py",
            """
            from pathlib import Path
            import everloop as ev
            import pyarrow as pa

            class Sketch:
                def __init__(self, counts):
                    self.counts = counts

            ev.register_serialiser(
                Sketch, save=lambda sketch, path: path.write_text(",".join(map(str, sketch.counts))),
                load=lambda path: Sketch([int(each) for each in path.read_text().split(",")]), version=1,
            )

            @ev.step
            def load(rows: int) -> pa.Table:
                return {"x": [rows]}

            @ev.step
            def count(values: list[int]) -> Sketch:
                return Sketch(list(values))

            @ev.step
            def total(sketch: Sketch) -> int:
                return sum(sketch.counts)

            @ev.pipeline
            def wrong_result(rows: int = 3):
                return load(rows)

            @ev.pipeline
            def sketched(values: tuple = (1, 2)):
                return total(count(values))
            """,
        )
        yield made


def test_a_step_that_returns_something_else_is_one_sentence(project: Project) -> None:
    run = project.run("work.py:wrong_result")
    assert run.error.startswith(
        "step load failed: InvalidInput: step load: its result is a dict; declared is pyarrow.Table"
    )


def test_a_wrong_argument_is_told_with_its_place(project: Project) -> None:
    assert project.run("work.py:sketched", params={"values": [1, 2]}).value() == 3
    run = project.run("work.py:sketched", params={"values": (1, "2")})
    assert "step count: values[1] is a str; declared is list[int]" in run.error


def test_another_version_of_a_serialiser_executes_again(project: Project) -> None:
    assert project.run("work.py:sketched", "local").value() == 3
    assert project.run("work.py:sketched", "local").executed == 0
    project.edit("work.py", "version=1", "version=2")
    assert project.run("work.py:sketched").step("total").status == "executed"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"timeout": "0s"}, "step work: timeout='0s' is not a length of time"),
        ({"timeout": "soon"}, "step work: 'soon' is not a length of time"),
        ({"wait": -1}, "step work: wait=-1 is not a length of time"),
        ({"wait": None}, "step work: wait=None is not a length of time"),
        ({"retries": 1.5}, "step work: retries=1.5 is not a number of times"),
    ],
)
def test_a_wrong_option_is_told_with_the_step_that_has_it(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidDefinition, match=said):

        @step(**settings)
        def work() -> int:
            return 1


def test_lengths_of_time_are_seconds_or_texts() -> None:
    @step(timeout="2min", wait=0.5)
    def work() -> int:
        return 1

    assert (work.options.timeout, work.options.wait) == (120, 0.5)


def test_functions_that_return_no_result_of_their_own_cannot_be_steps() -> None:
    async def later() -> int:
        return 1

    with pytest.raises(InvalidDefinition, match=r"later cannot be a step$"):
        step(later)
