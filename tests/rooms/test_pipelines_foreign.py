"""`everloop run dvc.yaml` and `everloop run MLproject`: other tools' pipelines, as they are."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import pytest
from tests.support.projects import wheel

from everloop.errors import EverloopError
from everloop.pipelines.outcome import PipelineRun
from everloop.pipelines.pipelines import Pipelines
from everloop.workspace.local import LocalWorkspace

DVC = """
    vars:
      - names: [a, b]
    stages:
      prepare:
        cmd: python src/prepare.py data.csv prepared
        deps: [data.csv, src/prepare.py]
        outs: [prepared]
      train:
        foreach: ${names}
        do:
          cmd: python train.py ${item} ${fit}
          wdir: src
          deps: [train.py, ../prepared]
          params: [{../params.yaml: [fit.lr]}]
          outs: ["../model-${item}.txt"]
      score:
        cmd:
          - cat model-a.txt model-b.txt > all.txt
          - wc -c < all.txt > metrics.json
        deps: [model-a.txt, model-b.txt]
        outs: [all.txt]
        metrics:
          - metrics.json: {cache: false}
    """
PREPARE = """
    import os, sys
    from lib import twice

    os.makedirs(sys.argv[2])  # what was there is removed first
    open(sys.argv[2] + "/rows.txt", "w").write(twice(open(sys.argv[1]).read()))
    """
TRAIN = """
    import sys

    rows = open("../prepared/rows.txt").read().split()
    open(f"../model-{sys.argv[1]}.txt", "w").write(f"{sys.argv[1]} {sum(map(float, rows))} {sys.argv[3]}\\n")
    """


@pytest.fixture
def folder(workspace: LocalWorkspace) -> Path:
    made = workspace.project
    (made / "src").mkdir(parents=True)
    (made / "dvc.yaml").write_text(textwrap.dedent(DVC))
    (made / "params.yaml").write_text("fit: {lr: 0.1}\nother: 1\n")
    (made / "data.csv").write_text("1\n2\n")
    (made / "src/prepare.py").write_text(textwrap.dedent(PREPARE))
    (made / "src/train.py").write_text(textwrap.dedent(TRAIN))
    (made / "src/lib.py").write_text("def twice(text):\n    return text * 2\n")
    return made


def run(workspace: LocalWorkspace, what: str, executor: str = "inline", **given: object) -> PipelineRun:
    done = workspace.room(Pipelines).run(what, executor=executor, **given)  # type: ignore[arg-type]
    assert not done.error, done.error
    return done


def executed(done: PipelineRun) -> dict[str, str]:
    return {each.name: each.reason for each in done.steps if each.status != "cached"}


def test_a_dvc_yaml_runs_as_it_is_and_only_what_changed_runs_again(
    workspace: LocalWorkspace, folder: Path
) -> None:
    first = run(workspace, "dvc.yaml", "local")
    assert list(executed(first)) == ["prepare", "train[a]", "train[b]", "score"]
    assert (folder / "all.txt").read_text() == "a 6.0 0.1\nb 6.0 0.1\n"
    assert first.value()["score"].keys() == {"all.txt", "metrics.json"}
    assert run(workspace, "dvc.yaml").executed == 0

    (folder / "prepared" / "rows.txt").unlink()  # what is gone or was changed comes back from the store
    (folder / "prepared" / "stray.txt").write_text("x")
    (folder / "model-a.txt").write_text("spoilt")
    assert run(workspace, "dvc.yaml").executed == 0
    assert [each.name for each in (folder / "prepared").iterdir()] == ["rows.txt"]
    assert (folder / "model-a.txt").read_text() == "a 6.0 0.1\n"

    (folder / "params.yaml").write_text("fit: {lr: 0.1} # as before\nother: 2\n")
    (folder / "src/train.py").write_text("# a comment\n" + (folder / "src/train.py").read_text())
    assert run(workspace, "dvc.yaml").executed == 0

    (folder / "src/lib.py").write_text(
        "def twice(text):\n    return text * 3\n"
    )  # DVC would not have seen this
    planned = executed(run(workspace, "dvc.yaml", dry_run=True))
    assert planned["prepare"] == "would run: function twice changed (src/lib.py, line 1)"
    assert planned["score"] == "would run if the result of train[a] or train[b] is another one"
    again = executed(run(workspace, "dvc.yaml"))
    assert again["train[a]"].startswith("input files changed")
    assert (folder / "all.txt").read_text() == "a 9.0 0.1\nb 9.0 0.1\n"

    (folder / "params.yaml").write_text("fit: {lr: 0.5}\n")
    one = executed(run(workspace, "dvc.yaml:train@a"))
    assert list(one) == ["train[a]"]
    assert "parameter fit.lr 0.1 -> 0.5" in one["train[a]"]

    (folder / "dvc.yaml").write_text(
        (folder / "dvc.yaml").read_text()
        + textwrap.dedent("""
            metrics: [extra.yaml, gone.json]
            plots:
              - Size: {x: step, y: {points.csv: size}}
              - points.csv: {x: step}
            """)
    )
    (folder / "extra.yaml").write_text("auc: 0.75\nsplit: {test: 4, name: late}\n")
    (folder / "points.csv").write_text("step,size\n1,2\n")
    last = workspace.tracking.run(run(workspace, "dvc.yaml").run_id)
    assert last.params == {"fit.lr": "0.5"}
    assert last.metrics == {"metrics.json": 20.0, "auc": 0.75, "split.test": 4.0}
    kept = [each.path for each in workspace.tracking.artifacts(last.run_id)]
    assert kept == ["extra.yaml", "metrics.json", "points.csv"]


def test_matrix_frozen_and_always_changed(workspace: LocalWorkspace, folder: Path) -> None:
    text = """
        stages:
          fixed:
            cmd: exit 1
            frozen: true
            outs: [data.csv]
          grid:
            matrix: {size: [1, 2], kind: [x, {deep: y}]}
            cmd: echo ${item.size} > ${key}.txt
            deps: [data.csv]
            outs: ["${key}.txt"]
          clock:
            cmd: echo tick
            always_changed: true
        """
    (folder / "dvc.yaml").write_text(textwrap.dedent(text))
    first = run(workspace, "dvc.yaml")
    assert [each.name for each in first.steps] == [
        "grid[1-x]",
        "grid[1-kind1]",
        "grid[2-x]",
        "grid[2-kind1]",
        "clock",
    ]
    assert (folder / "2-kind1.txt").read_text() == "2\n"
    assert list(executed(run(workspace, "dvc.yaml"))) == ["clock"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stages: {a: {cmd: echo, deps: [missing.csv]}}", "missing.csv is not there"),
        ("stages: {a: {cmd: 'false', deps: [data.csv]}}", "exit code 1"),
        ("stages: {a: {cmd: 'true', deps: [data.csv], outs: [x.txt]}}", "has not made x.txt"),
        ("stages: {a: {cmd: echo, outs: [x]}, b: {cmd: echo, outs: [x]}}", "made by a and by b"),
        (
            "stages: {a: {cmd: c, deps: [y], outs: [x]}, b: {cmd: c, deps: [x], outs: [y]}}",
            "a needs b needs a",
        ),
        ("stages: {a: {cmd: 'echo ${fit.rl}'}}", "${fit.rl} names nothing"),
        ("stages: {a: {cmd: echo, deps: [../x]}}", "not inside the project"),
        ("stages: {a: {cmd: echo, dps: [x]}}", "has 'dps'"),
        ("stages: [", "is not plain YAML"),
    ],
)
def test_mistakes_in_a_dvc_yaml_are_one_sentence(
    workspace: LocalWorkspace, folder: Path, text: str, said: str
) -> None:
    (folder / "dvc.yaml").write_text(text)
    try:
        told = workspace.room(Pipelines).run("dvc.yaml", executor="inline").error
    except EverloopError as error:
        told = error.message
    assert said in told


def test_an_mlproject_runs_its_entry_points_with_their_parameters(
    workspace: LocalWorkspace, folder: Path
) -> None:
    text = """
        name: wine
        docker_env: {image: wine}
        entry_points:
          main:
            parameters:
              alpha: {type: float, default: 0.5}
              data: {type: path, default: data.csv}
              name: string
            command: "python show.py {alpha} {data} {name}"
          check:
            command: "echo checked > checked.txt"
        """
    text = text.replace(
        "name: string", "name: string\n              rows: {type: int, default: 3}"
    )  # MLflow hands it on
    (folder / "MLproject").write_text(textwrap.dedent(text))
    (folder / "show.py").write_text("import sys; open('said.txt', 'w').write(repr(sys.argv[1:]))")
    done = run(workspace, "MLproject", params={"name": "it's; exit 1", "extra": 3})
    assert done.pipeline == "wine"
    assert (folder / "said.txt").read_text() == repr(
        ["0.5", str(folder / "data.csv"), "it's; exit 1", "--extra", "3"]
    )
    assert any("the command is run in this one" in note for note in done.notes)
    assert run(workspace, "MLproject", params={"name": "x"}).executed == 1  # nothing says what it makes
    run(workspace, f"{folder}:check")  # as in: mlflow run . -e check
    assert (folder / "checked.txt").is_file()
    when = "import everloop as ev\nwine = ev.trigger('wine', pipeline='MLproject', params={'name': 'x'})\n"
    (folder / "when.py").write_text(when)
    assert workspace.loop.apply("when.py").triggers == ("wine",)
    assert workspace.loop.fire("wine", params={"extra": 4}).params == {"name": "x", "extra": 4}
    room = workspace.room(Pipelines)
    with pytest.raises(EverloopError, match="needs the parameter 'name'"):
        room.run("MLproject")
    with pytest.raises(EverloopError, match="alpha is a number, not 'much'"):
        room.run("MLproject", {"name": "x", "alpha": "much"})
    with pytest.raises(EverloopError, match="no entry point 'chek'"):
        room.run("MLproject:chek")
    with pytest.raises(EverloopError, match="there is no file"):
        room.run("elsewhere/MLproject")


def test_an_mlproject_runs_in_the_environment_that_it_names(workspace: LocalWorkspace, folder: Path) -> None:
    text = "{kind}: {file}\nentry_points: {{main: {{command: 'python -c \"import tiny; print(tiny.ANSWER)\" > said.txt'}}}}\n"
    project, python = folder / "MLproject", f"{sys.version_info.major}.{sys.version_info.minor}.77"
    package = wheel(folder, 21).name
    (folder / "requirements.txt").write_text(f"# ours\n./{package}\n")
    (folder / "python_env.yaml").write_text(f"python: '{python}'\ndependencies:\n  - -r requirements.txt\n")
    (folder / "conda.yaml").write_text(f"dependencies: [python={python}, pip<99, {{pip: [./{package}]}}]\n")
    project.write_text(text.format(kind="python_env", file="python_env.yaml"))
    done = workspace.room(Pipelines).run("MLproject", executor="local")
    assert done.status == "finished", done.error
    assert (folder / "said.txt").read_text() == "21\n"
    assert f"python_env.yaml names Python {python}; any {python[:-3]} serves" in done.notes
    project.write_text(text.format(kind="conda_env", file="conda.yaml"))
    assert workspace.room(Pipelines).run("MLproject", executor="local").status == "finished"
    (folder / "conda.yaml").write_text("dependencies: [python=3.12, conda-forge::gdal=3.8, pip]\n")
    with pytest.raises(
        EverloopError, match=r"asks conda for 'conda-forge::gdal=3\.8', and Everloop installs with pip"
    ):
        workspace.room(Pipelines).run("MLproject")
    (folder / "python_env.yaml").write_text("python: 3.8.15\ndependencies: [tiny]\n")
    project.write_text(text.format(kind="python_env", file="python_env.yaml"))
    with pytest.raises(EverloopError, match=r"an environment cannot have Python '3\.8'"):
        workspace.room(Pipelines).run("MLproject")
    project.write_text(text.format(kind="python_env", file="nowhere.yaml"))
    with pytest.raises(EverloopError, match=r"MLproject names nowhere\.yaml, which is not there"):
        workspace.room(Pipelines).run("MLproject")
