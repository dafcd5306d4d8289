"""SQL as a step: what it reads are its arguments and dataset versions, and nothing else; what it is shows in its key."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pyarrow as pa
import pytest
from tests.support.projects import Project, project_in, statuses

import everloop as ev
from everloop.cli.main import main
from everloop.errors import InvalidDefinition, InvalidInput
from everloop.workspace.local import LocalWorkspace

CODE = """
    import everloop as ev
    import pyarrow as pa

    @ev.step
    def load(month: int) -> pa.Table:
        return pa.table({"month": [month] * 3, "carrier": ["AA", "DL", "AA"], "delay": [1.0, 2.0, 3.0 * month]})

    by_carrier = ev.sql_step("by_carrier.sql")
    late = ev.sql_step("select carrier from means where delay > $least order by carrier")

    @ev.pipeline
    def report(least: float = 1.5):
        means = by_carrier(load.map([1, 2]))
        return late(means, least)
"""
QUERY = """
    -- the mean delay
    select carrier, avg(delay) as delay
    from flights group by carrier order by carrier
"""


@pytest.fixture
def project(workspace: LocalWorkspace) -> Iterator[Project]:
    with project_in(workspace) as made:
        made.write("report.py", CODE)
        made.write("by_carrier.sql", QUERY)
        yield made


@pytest.mark.parametrize("executor", ["inline", "local"])
def test_a_query_stands_between_python_steps(project: Project, executor: str) -> None:
    run = project.run("report.py:report", executor)
    assert run.status == "finished", run.error
    assert run.value("by_carrier").to_pylist() == [
        {"carrier": "AA", "delay": 2.75},
        {"carrier": "DL", "delay": 2.0},
    ]
    assert run.value().to_pylist() == [{"carrier": "AA"}, {"carrier": "DL"}]
    assert project.run("report.py:report", executor).executed == 0
    assert run.step("by_carrier").step == "report.py::by_carrier"


def test_layout_changes_nothing_and_an_edit_executes_what_depends_on_it(project: Project) -> None:
    project.run("report.py:report")
    project.write(
        "by_carrier.sql",
        "SELECT carrier, AVG(delay) AS delay FROM flights -- new\nGROUP BY carrier\nORDER BY carrier",
    )
    assert project.run("report.py:report").executed == 0
    project.edit("by_carrier.sql", "AVG", "max")
    run = project.run("report.py:report")
    assert statuses(run) == {
        "load[0]": "cached",
        "load[1]": "cached",
        "by_carrier": "executed",
        "late": "executed",
    }
    assert run.step("by_carrier").reason == "SQL by_carrier.sql changed"
    assert (
        project.run("report.py:report", params={"least": 5.0}).step("late").reason
        == "parameter least 1.5 -> 5.0"
    )


def test_a_query_within_the_module_counts_by_itself(project: Project) -> None:
    project.run("report.py:report")
    project.edit("report.py", "order by carrier", "order by carrier desc")
    run = project.run("report.py:report")
    assert (run.executed, run.step("late").reason) == (1, "SQL late changed (report.py)")


def test_a_dataset_that_is_read_is_recorded_and_its_new_version_executes_again(project: Project) -> None:
    project.workspace.data.add(pa.table({"x": [1, 2]}), "flights")
    project.write(
        "totals.py",
        """
        import everloop as ev

        total = ev.sql_step("select sum(x)::bigint as total from data('flights') where x > $above")
        first = ev.sql_step("select sum(x)::bigint as total from data('flights@v1')", seed=1)

        @ev.pipeline
        def totals():
            return total(0), first()
        """,
    )
    run = project.run("totals.py:totals")
    assert [each.to_pylist() for each in run.value()] == [[{"total": 3}]] * 2
    step = run.step("total").run
    assert step is not None
    assert "data:flights@v1" in project.workspace.tracking.describe(step).consumed
    assert project.run("totals.py:totals").executed == 0
    project.workspace.data.add(pa.table({"x": [10]}), "flights")
    again = project.run("totals.py:totals")
    assert again.step("total").reason == "data:flights is now v2"
    assert again.value()[0].to_pylist() == [{"total": 10}]


@pytest.mark.parametrize(
    ("query", "says"),
    [
        (
            "select *\nfrom flights\nwhre x = 1",
            'the query, line 3: syntax error at or near "x"\n  whre x = 1\n       ^',
        ),
        ("create table x as select 1", "the query is not a SELECT"),
        ("select 1; select 2", "the query has 2 statements"),
        ("select * from 'flights.csv'", "the query reads flights.csv, which is no argument of the step"),
        ("select * from data(x)", "the query: data(…) is given something that is not one name in quotes"),
    ],
)
def test_a_query_that_cannot_be_a_step_is_told_before_it_runs(query: str, says: str) -> None:
    with pytest.raises(InvalidDefinition) as told:
        _ = ev.sql_step(query).signature
    assert str(told.value) == says


def test_what_a_query_names_are_its_arguments() -> None:
    step = ev.sql_step(
        "with flights as (select * from flights where month = $month), n as (select 1)"
        " select * from flights join weather using (d), n"
    )
    assert list(step.signature.parameters) == ["flights", "weather", "month"]
    with pytest.raises(InvalidInput, match="missing a required argument: 'weather'"):
        step.bind(([],), {"month": 3})


def test_files_cannot_be_read_around_the_key(tmp_path) -> None:
    (tmp_path / "a.csv").write_text("x\n1\n")
    with pytest.raises(InvalidInput, match="file system operations are disabled"):
        ev.sql_step(f"select * from read_csv('{tmp_path}/a.csv')")()


def test_the_moment_is_noted_as_what_cannot_be_seen(project: Project) -> None:
    project.write(
        "moment.py",
        """
        import everloop as ev
        moment = ev.sql_step("select now() as time")

        @ev.pipeline
        def ask():
            return moment()
        """,
    )
    assert project.run("moment.py:ask").notes == (
        "moment.py::moment: now() gives another answer each time, and the stored one is used: pass it in as a $parameter",
    )


def test_a_wrong_query_is_one_sentence_and_exit_code_2(project: Project, monkeypatch, capsys) -> None:
    project.write("by_carrier.sql", "select carrier\nfrom flights\nwhre delay > 1")
    monkeypatch.chdir(project.folder)
    project.forget()
    assert main(["run", "report.py:report", "--executor", "inline", "--json"]) == 2
    said = json.loads(capsys.readouterr().out)["error"]["message"]
    assert said == 'by_carrier.sql, line 3: syntax error at or near "delay"\n  whre delay > 1\n       ^'


def test_a_column_that_is_not_there_fails_the_step_with_its_line(project: Project) -> None:
    project.edit("report.py", "select carrier from means", "select nope from means")
    run = project.run("report.py:report")
    assert run.status == "failed"
    assert 'Referenced column "nope" not found' in run.error
