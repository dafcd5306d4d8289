"""Commands as steps: files in, files out, nothing around them; the scripts they name count for what they do."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.projects import Project, project_in, statuses

import everloop as ev
from everloop.errors import Failed, InvalidDefinition, InvalidInput
from everloop.workspace.local import LocalWorkspace

CODE = """
    import everloop as ev
    import pyarrow as pa

    @ev.step
    def rows() -> pa.Table:
        return pa.table({"word": ["pear", "fig", "apple"], "n": [2, 3, 1]})

    ranked = ev.shell_step("tail -n +2 {rows} | sort -t, -k2 -n > {out}", inputs={"rows": "rows.csv"}, outputs="ranked.csv")
    shouted = ev.shell_step("python scripts/shout.py {text} {times} > {out}; bash scripts/say.sh", outputs="loud.txt")
    lines = ev.sql_step("select count(*) as n from ranked")

    @ev.step
    def length(loud: ev.File) -> int:
        return len(loud.text())

    @ev.pipeline
    def work(times: int = 2):
        loud = shouted(ranked(rows()), times)
        return length(loud), loud
"""
SHOUT = (
    "import sys\nfrom pathlib import Path\nfrom loudness import loud\n"
    "marks = (Path(__file__).resolve().parent / 'marks.txt').read_text()\n"
    "print(loud(open(sys.argv[1]).read()) * int(sys.argv[2]) + marks, end='')\n"
)


@pytest.fixture
def project(workspace: LocalWorkspace) -> Iterator[Project]:
    with project_in(workspace) as made:
        made.write("work.py", CODE)
        made.write("scripts/shout.py", SHOUT)
        made.write("scripts/loudness.py", "def loud(text):\n    return text.upper()\n")
        made.write("scripts/marks.txt", "")
        made.write("scripts/beside.txt", "")
        made.write(
            "scripts/say.sh",
            'cat scripts/said.txt ./scripts/said.txt | head -n 1\ncat "$(dirname "$(readlink -f "$0")")/beside.txt"\n',
        )
        made.write("scripts/said.txt", "well done\n")
        yield made


@pytest.mark.parametrize("executor", ["inline", "local"])
def test_commands_stand_between_python_steps(project: Project, executor: str) -> None:
    run = project.run("work.py:work", executor)
    assert run.status == "finished", run.error
    count, loud = run.value()
    assert loud.text() == '"APPLE",1\n"PEAR",2\n"FIG",3\n' * 2
    assert count == len(loud.text())
    log = run.step("shouted").log
    assert log is not None
    assert project.workspace.objects.read(log) == b"well done\n"
    assert project.run("work.py:work", executor).executed == 0


@pytest.mark.parametrize(
    ("file", "before", "after", "reason"),
    [
        ("scripts/loudness.py", "upper", "title", "function loud changed (scripts/loudness.py, line 1)"),
        ("scripts/said.txt", "well", "all", "script scripts/said.txt changed"),
        ("scripts/beside.txt", "", "more", "script scripts/beside.txt changed"),
        ("scripts/marks.txt", "", "!", "file scripts/marks.txt changed"),
        ("work.py", "bash scripts/say.sh", "bash scripts/say.sh 1", "command shouted changed (work.py)"),
    ],
)
def test_what_a_command_depends_on_executes_it_again(project: Project, file, before, after, reason) -> None:
    project.run("work.py:work")
    project.write("scripts/unrelated.py", "x = 1\n")
    project.edit("scripts/shout.py", "import sys\n", "import sys  # the arguments\n")
    assert project.run("work.py:work").executed == 0
    project.edit(file, before, after)
    run = project.run("work.py:work")
    assert statuses(run)["ranked"] == "cached"
    assert run.step("shouted").reason.startswith(reason)


@settings(max_examples=20)
@given(st.text(st.characters(min_codepoint=1, exclude_categories=["Cs"]), max_size=20))
def test_a_text_reaches_the_command_as_it_is(text: str) -> None:
    show = ev.shell_step("printf %s {text}")
    assert show(text).replace("\r\n", "\n") == text.replace("\r\n", "\n")


def test_the_command_sees_its_declared_environment_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROM_OUTSIDE", "1")
    seen = ev.shell_step("env; ls", env={"DECLARED": "yes"})()
    assert "DECLARED=yes" in seen
    assert "FROM_OUTSIDE" not in seen
    assert f"PWD={os.getcwd()}" not in seen


@pytest.mark.parametrize(
    ("command", "outputs", "says"),
    [
        ("echo tried; exit 3 > {out}", "x", "the command ended with exit code 3: tried"),
        ("false | cat", {}, "the command ended with exit code 1"),
        ("echo $UNSET", {}, "UNSET: unbound variable"),
        ("touch other; : {out}", "x.txt", "it has not written the file x.txt"),
    ],
)
def test_a_command_that_fails_says_how(command: str, outputs, says: str) -> None:
    with pytest.raises(Failed, match=says):
        ev.shell_step(command, outputs=outputs)()


def test_the_last_lines_of_a_failed_command_are_in_the_error(project: Project) -> None:
    project.write("scripts/say.sh", "echo first; echo second >&2; exit 4\n")
    run = project.run("work.py:work")
    assert "step shouted failed" in run.error
    assert "exit code 4: second" in run.error
    assert "first\nsecond" in run.error


@pytest.mark.parametrize(
    ("command", "more", "says"),
    [
        ("grep '{word}' {rows}", {}, "{word} stands within quotes"),
        ("sort {rows}", {"outputs": "sorted.txt"}, "does not write {out}"),
        ("sort {rows}", {"inputs": {"row": "r.csv"}}, "has no {row}"),
        ("sort > {out}", {"outputs": "../x"}, "'../x' is no name of an output"),
        ("  ", {}, "the command is empty"),
    ],
)
def test_a_wrong_declaration_is_told_at_once(command: str, more, says: str) -> None:
    with pytest.raises(InvalidDefinition) as told:
        ev.shell_step(command, **more)
    assert says in str(told.value)


def test_what_cannot_be_a_file_is_told() -> None:
    with pytest.raises(InvalidInput, match=r"a set cannot be written to rows\.parquet"):
        ev.shell_step("cat {rows}")({1})


def test_a_dataset_is_given_as_its_files(project: Project) -> None:
    project.workspace.data.add(pa.table({"x": [1, 2]}), "flights")
    listed = ev.shell_step("ls {flights}")(project.workspace.data.dataset("flights"))
    assert listed.strip().startswith("inputs/flights/")
