"""Runs as OpenLineage events, and provenance as PROV documents."""

import http.server
import json
import subprocess
import textwrap
import threading
from datetime import UTC, datetime
from typing import ClassVar

import jsonschema
import pyarrow as pa
import pytest
from click.testing import CliRunner
from tests.support.openlineage import EVENT

from everloop.cli.main import cli
from everloop.errors import InvalidInput, Unavailable
from everloop.exchange.openlineage.exporting import export

CHECK = jsonschema.Draft202012Validator(EVENT, format_checker=jsonschema.FormatChecker())
STEPS = """
    import everloop as ev

    @ev.step
    def load():
        table = ev.data("points").to_arrow()
        run = ev.active_run()
        added = ev.workspace().data.add(table, name="copied", producer=run.reference)
        return table.num_rows

    @ev.step
    def divide(count, by):
        return count / by

    @ev.pipeline
    def ratio(by: int = 2):
        return divide(load(), by)
    """


@pytest.fixture
def project(workspace, monkeypatch):
    import sys

    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    path = list(sys.path)
    workspace.project.mkdir(parents=True, exist_ok=True)
    (workspace.project / "ratios.py").write_text(textwrap.dedent(STEPS))
    workspace.data.add(pa.table({"x": [1.0, 2.0]}), name="points")
    yield workspace
    sys.modules.pop("ratios", None)
    sys.path[:] = path


def told(path):
    events = [json.loads(line) for line in path.read_text().splitlines()]
    for each in events:
        CHECK.validate(each)
    return events


def of(events, name):
    return [each for each in events if each["job"]["name"] == name]


def test_a_pipelines_runs_are_told_by_the_schema(project, tmp_path):
    done = project.pipelines.run("ratios.py:ratio", executor="inline")
    assert done.status == "finished", done.error
    report = export(project, str(tmp_path / "events.jsonl"))
    events = told(tmp_path / "events.jsonl")
    assert report.events == len(events)
    whole, step = of(events, "ratio"), of(events, "ratio.load")
    assert [each["eventType"] for each in whole] == ["START", "COMPLETE"]
    assert [each["eventType"] for each in step] == ["START", "COMPLETE"]
    assert whole[0]["run"]["runId"].replace("-", "") == done.run_id
    parent = step[0]["run"]["facets"]["parent"]
    assert parent["run"]["runId"] == whole[0]["run"]["runId"]
    assert parent["job"]["name"] == "ratio"
    end = step[-1]
    assert [(each["name"], each["facets"]["version"]["datasetVersion"]) for each in end["inputs"]] == [
        ("points", "v1")
    ]
    assert [each["name"] for each in end["outputs"]] == ["copied"]
    assert end["outputs"][0]["facets"]["schema"]["fields"] == [{"name": "x", "type": "double"}]
    assert end["outputs"][0]["outputFacets"]["outputStatistics"]["rowCount"] == 2
    assert whole[0]["outputs"] == []
    assert whole[0]["run"]["facets"]["everloop_run"]["parameters"] == {"by": "2"}
    assert whole[0]["run"]["facets"]["jobRunParameters"]["parameters"] == [{"key": "by", "value": "2"}]


def test_what_failed_says_so_and_what_was_started_for_a_time_too(project, tmp_path):
    from everloop.store.schema.triggers import firings

    done = project.pipelines.run("ratios.py:ratio", {"by": 0}, executor="inline")
    scheduled = datetime(2026, 1, 1, 3, tzinfo=UTC)
    texts = {
        each.name: ""
        for each in firings.c
        if str(each.type).startswith(("TEXT", "VARCHAR")) and not each.nullable
    }
    moments = dict.fromkeys(("scheduled", "not_before", "created"), scheduled)
    row = (
        texts
        | moments
        | {"id": "1" * 32, "trigger": "nightly", "key": "k", "facts": {}, "params": {}, "run": done.run_id}
    )
    numbers = {"waits": False, "attempts": 1, "deaths": 0, "pid": 0, "began": 0.0}
    with project.ledger.transaction("test") as tx:
        tx.insert_new(firings, row | numbers)
    export(project, str(tmp_path / "events.jsonl"))
    end = of(told(tmp_path / "events.jsonl"), "ratio")[-1]
    assert end["eventType"] == "FAIL"
    assert "division by zero" in end["run"]["facets"]["errorMessage"]["message"]
    assert end["run"]["facets"]["nominalTime"]["nominalStartTime"] == "2026-01-01T03:00:00.000000Z"


def test_each_destination_is_told_what_it_was_not_told_yet(project, tmp_path):
    one, two = str(tmp_path / "one.jsonl"), str(tmp_path / "deep" / "two.jsonl")
    with project.tracking.start(name="first"):
        pass
    assert export(project, one).events == 2
    assert export(project, one).events == 0
    with project.tracking.start(name="second"):
        pass
    assert export(project, one).runs == 1
    assert export(project, two).events == 4
    assert export(project, two, again=True).events == 4
    assert export(project, two).events == 0
    assert len(told(tmp_path / "deep" / "two.jsonl")) == 8
    assert export(project, str(tmp_path / "three"), since=datetime(2030, 1, 1, tzinfo=UTC)).events == 0
    with pytest.raises(InvalidInput, match="neither a file nor an address"):
        export(project, "s3://bucket/events")


def test_it_is_the_same_through_a_server(any_workspace, tmp_path):
    with any_workspace.tracking.start(name="seen") as run:
        run.log_metric("loss", float("nan"))
        run.log_metric("score", 0.5)
    export(any_workspace, str(tmp_path / "events.jsonl"))
    end = told(tmp_path / "events.jsonl")[-1]
    assert end["run"]["facets"]["everloop_run"]["metrics"] == {"score": 0.5}


@pytest.mark.parametrize(
    ("origin", "repository"),
    [
        ("https://ann:secret@example.org/team/ratios.git", "https://example.org/team/ratios.git"),
        ("git@example.org:team/ratios.git", "ssh://git@example.org/team/ratios.git"),
        ("/srv/team/ratios.git", "file:///srv/team/ratios.git"),
    ],
)
def test_where_the_code_is_is_told_when_the_repository_has_an_address(project, tmp_path, origin, repository):
    def git(*arguments):
        who = ["-c", "user.name=ann", "-c", "user.email=ann@example.org"]
        subprocess.run(["git", "-C", str(project.project), *who, *arguments], check=True, capture_output=True)

    git("init", "-q", "-b", "main")
    git("add", "ratios.py")
    git("commit", "-qm", "first")
    git("remote", "add", "origin", origin)
    project.pipelines.run("ratios.py:ratio", executor="inline")
    export(project, str(tmp_path / "events.jsonl"))
    text = (tmp_path / "events.jsonl").read_text()
    assert "secret" not in text
    where = of(told(tmp_path / "events.jsonl"), "ratio")[0]["job"]["facets"]["sourceCodeLocation"]
    assert where["repoUrl"] == repository
    if "example.org" in origin:
        assert where["url"] == f"https://example.org/team/ratios/blob/{where['version']}/ratios.py"
    assert where["branch"] == "main"


class Receiver(http.server.BaseHTTPRequestHandler):
    taken: ClassVar[list] = []
    status = 201

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.status == 201:
            Receiver.taken.append((self.path, self.headers.get("Authorization"), json.loads(body)))
        self.send_response(self.status)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def receiver():
    Receiver.taken, Receiver.status = [], 201
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join(10)


def test_an_address_is_posted_to_and_asked_again_for_what_it_did_not_take(project, receiver, monkeypatch):
    monkeypatch.setenv("OPENLINEAGE_API_KEY", "k1")
    with project.tracking.start(name="first"):
        pass
    Receiver.status = 503
    with pytest.raises(Unavailable, match="503"):
        export(project, receiver)
    Receiver.status = 201
    assert export(project, receiver).events == 2
    assert [(path, key) for path, key, _ in Receiver.taken] == [("/api/v1/lineage", "Bearer k1")] * 2
    for _, _, event in Receiver.taken:
        CHECK.validate(event)
    assert export(project, receiver).events == 0


def test_a_server_tells_where_the_settings_name_an_address(project, receiver, monkeypatch):
    import msgspec

    from everloop.server.supervisor import Supervisor

    with project.tracking.start(name="first"):
        pass
    Supervisor(project).chores()
    assert Receiver.taken == []
    monkeypatch.setattr(project, "settings", msgspec.structs.replace(project.settings, openlineage=receiver))
    Supervisor(project).chores()
    Supervisor(project).chores()
    assert [event["eventType"] for _, _, event in Receiver.taken] == ["START", "COMPLETE"]


PROV_ENDS = {
    "used": ("activity", "entity"),
    "wasGeneratedBy": ("entity", "activity"),
    "wasDerivedFrom": ("generatedEntity", "usedEntity"),
    "wasInformedBy": ("informed", "informant"),
    "wasAssociatedWith": ("activity", "agent"),
}
PROV_KIND = {
    "generatedEntity": "entity",
    "usedEntity": "entity",
    "informed": "activity",
    "informant": "activity",
}


def test_provenance_as_a_prov_document(project, tmp_path, monkeypatch):
    done = project.pipelines.run("ratios.py:ratio", executor="inline")
    monkeypatch.setenv("EVERLOOP_WORKSPACE", str(project.project))
    answer = CliRunner().invoke(cli, ["export", "prov", "data:copied@v1"])
    assert answer.exit_code == 0, answer.output
    made = json.loads(answer.stdout)
    assert set(made) <= {"prefix", "entity", "activity", "agent", *PROV_ENDS}
    for relation, ends in PROV_ENDS.items():
        for each in made.get(relation, {}).values():
            for end in ends:
                assert each[f"prov:{end}"] in made[PROV_KIND.get(end, end)], (relation, each)
    load = next(name for name, each in made["activity"].items() if each.get("everloop:name") == "load")
    assert {
        "prov:activity": load,
        "prov:entity": "everloop:data-points%40v1",
        "prov:role": "consumed",
    } in made["used"].values()
    generated = made["wasGeneratedBy"].values()
    assert {
        "prov:entity": "everloop:data-copied%40v1",
        "prov:activity": load,
        "prov:role": "produced",
    } in generated
    assert {"prov:informed": load, "prov:informant": f"everloop:run-{done.run_id}"} in made[
        "wasInformedBy"
    ].values()
    assert made["activity"][f"everloop:run-{done.run_id}"]["everloop:parameter-by"] == "2"
    kinds = {each["prov:type"]["$"] for each in made["entity"].values()}
    assert kinds == {"everloop:data", "everloop:pipeline", "prov:Plan"}
    written = CliRunner().invoke(
        cli, ["export", "prov", "data:copied@v1", "--to", str(tmp_path / "p.json"), "--json"]
    )
    assert json.loads(written.stdout)["counts"]["entity"] == len(made["entity"])
    assert json.loads((tmp_path / "p.json").read_text()) == made


def test_the_command(project, tmp_path, monkeypatch):
    with project.tracking.start(name="first"):
        pass
    monkeypatch.setenv("EVERLOOP_WORKSPACE", str(project.project))
    to = ["--to", str(tmp_path / "events.jsonl")]
    assert "2 events of 1 run" in CliRunner().invoke(cli, ["export", "openlineage", *to]).output
    assert "knows all that happened" in CliRunner().invoke(cli, ["export", "openlineage", *to]).output
    again = CliRunner().invoke(cli, ["export", "openlineage", *to, "--again", "--json"])
    assert json.loads(again.stdout)["events"] == 2
