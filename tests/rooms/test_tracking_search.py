"""The search language as SQL says what its plain evaluation says, on SQLite and on Postgres."""

from __future__ import annotations

import math
import random
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cmp_to_key
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.support.postgres import new_database
from tests.support.workspaces import FakeClock

from everloop.domain.run_inputs import LoggedDataset
from everloop.domain.runs import MetricSummary, RunDetail, artifact_uri, param_number
from everloop.domain.search import matches, parse_filter
from everloop.errors import InvalidInput
from everloop.store.schema.registry import model_aliases, models
from everloop.tracking import records, searching
from everloop.tracking.tracking import Tracking
from everloop.workspace.local import LocalWorkspace

TEXTS = (
    "tree", "Tree", "t_ee", "tr%", "linear", "0.5", "1e-3", "", "ä", "Ä", "a*[b]?", "\\", "\\%", "x" * 300 + "1", "x" * 300 + "2",
)  # fmt: skip
NUMBERS = (0.0, -0.0, 0.5, 1.0, -3.25, 1e300, math.nan, math.inf, -math.inf)
KEYS = ("model", "lr", "m x")
NAMES = ("a", "B", "b%", "run_1")
ALIASES = {"delay@v4": "delay@champion", "delay@v11": "delay@old"}


class Seen(msgspec.Struct):
    """A run as the plain evaluation sees it."""

    detail: RunDetail
    datasets: list[dict[str, str]]

    @property
    def params(self) -> dict[str, str]:
        return self.detail.run.params

    @property
    def tags(self) -> dict[str, str]:
        return self.detail.run.tags

    @property
    def metrics(self) -> dict[str, MetricSummary]:
        return {each.key: each for each in self.detail.metrics}

    @property
    def texts(self) -> dict[str, str | None]:
        names = (
            "run_id",
            "name",
            "user",
            "status",
            "source",
            "version",
            "experiment",
            "parent",
            "resumed_from",
        )
        run = self.detail.run
        uri = artifact_uri(run.experiment_id, run.run_id)
        return {name: getattr(run, name) for name in names} | {"artifact_uri": uri}

    @property
    def times(self) -> dict[str, datetime | None]:
        return {"start_time": self.detail.run.start_time, "end_time": self.detail.run.end_time}

    @property
    def numbers(self) -> dict[str, float]:
        return {}

    @property
    def lineage(self) -> dict[str, frozenset[str]]:
        both = [*self.detail.consumed, *self.detail.produced]
        both += [f"model:{alias}" for reference, alias in ALIASES.items() if f"model:{reference}" in both]
        return {
            kind: frozenset(each.partition(":")[2] for each in both if each.startswith(f"{kind}:"))
            for kind in ("data", "model", "feature")
        }


def aliased(workspace: LocalWorkspace) -> None:
    """Aliases as the registry keeps them."""
    with workspace.ledger.transaction("test") as tx:
        model = {"name": "delay", "latest": 40, "description": "", "created": tx.now, "updated": tx.now}
        tx.insert_new(models, model)
        for reference, alias in ALIASES.items():
            row = {
                "name": "delay",
                "alias": alias.partition("@")[2],
                "version": int(reference.partition("@v")[2]),
            }
            tx.insert_new(model_aliases, row)


def filled(tracking: Tracking) -> list[Seen]:
    """Forty runs of all sorts, the same for every backend."""
    choose = random.Random(4)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    made: list[str] = []
    for number in range(40):
        params = {key: choose.choice(TEXTS) for key in KEYS if choose.random() < 0.6}
        tags = {key: choose.choice(TEXTS) for key in KEYS if choose.random() < 0.4}
        run = tracking.create_run(
            name=choose.choice(NAMES),
            experiment=choose.choice(("", "e")),
            params=params,
            tags=tags,
            parent=choose.choice(made) if made and choose.random() < 0.3 else None,
            start_time=start + timedelta(days=number // 2),
        )
        made.append(run.run_id)
        logged = [
            records.encode((records.POINT, key, choose.choice(NUMBERS), choose.randrange(3), 0))
            for key in KEYS
            if choose.random() < 0.7
            for _ in range(choose.randrange(1, 4))
        ]
        tracking.ship(run.run_id, 0, records.batch(logged))
        if choose.random() < 0.5:
            tracking.consumed(
                run.run_id, [f"data:{choose.choice(('flights', 'flight'))}@v{choose.randrange(1, 4)}"]
            )
        if choose.random() < 0.3:
            tracking.produced(run.run_id, [f"model:delay@v{number + 1}"])
        for _ in range(choose.randrange(3)):
            digest, context = choose.choice(("d1", "d2")), choose.choice(("", "train"))
            tracking.log_datasets(run.run_id, [LoggedDataset(choose.choice(NAMES), digest, context=context)])
        if choose.random() < 0.5:
            tracking.finish_run(run.run_id, choose.choice(("finished", "failed")), start + timedelta(days=30))
    return [
        Seen(
            tracking.describe(each),
            [
                {"name": one.name, "digest": one.digest} | ({"context": one.context} if one.context else {})
                for one in tracking.datasets_of([each]).get(each, [])
            ],
        )
        for each in made
    ]


def quoted(text: str) -> str:
    return f"'{text}'"


keys = st.sampled_from([*KEYS, "none"]).map(lambda key: f'"{key}"')
texts = st.sampled_from([*TEXTS, "%ee", "_", "%", "t%e", "[%"]).map(quoted)
numbers = st.sampled_from(["0", "0.5", "-3.25", "1", "1e300", "-1e-9", "2"])
compared = st.sampled_from(["=", "!=", "<", "<=", ">", ">="])
equal = st.sampled_from(["=", "!="])
regular = st.sampled_from(
    [
        "^t.ee$", "tree|lin", "(?i)^TR", "[^a-z]", "^$", r"^\\", r"\d$", "(x{3}|a){90,}", "ä|[à-ü]$", "1?e-[0-9]+$",
        "(?i)[À-Ü]$", "^.{4}$", r"^[\w]*$", r"[%*\[\]]",
    ]
).map(quoted)  # fmt: skip
patterns = st.sampled_from(["=", "!=", "like", "ilike", "not like", "not ilike"])
lists = st.lists(texts, min_size=1, max_size=3).map(lambda found: f"({', '.join(found)})")
aggregates = st.sampled_from(["{}", "min({})", "max({})", "first({})", "last({})", "mean({})", "count({})"])


def words(*parts: st.SearchStrategy[str] | str) -> st.SearchStrategy[str]:
    return st.tuples(*(st.just(part) if isinstance(part, str) else part for part in parts)).map(" ".join)


metric_fields = st.builds(lambda form, key: form.format(f"metrics.{key}"), aggregates, keys)
text_fields = st.one_of(
    keys.map(lambda key: f"params.{key}"),
    keys.map(lambda key: f"tags.{key}"),
    st.sampled_from(["name", "status", "experiment", "parent", "attributes.user"]),
)
own = st.sampled_from(["a", "B", "b%", "running", "Failed", "%ed", "e", "Default"]).map(quoted)
dataset_fields = st.sampled_from(["datasets.name", "dataset.digest", "datasets.context"])
nullable = st.one_of(
    text_fields, metric_fields, dataset_fields, st.sampled_from(["end_time", "data", "model"])
)
leaves = st.one_of(
    metric_fields, keys.map(lambda key: f"params.{key}"), numbers.filter(lambda each: "300" not in each)
)


def reckons(text: str) -> bool:
    """Whether a field is in it, which the language asks for."""
    return "." in text.replace("0.5", "").replace("3.25", "")


products = st.lists(leaves, min_size=1, max_size=3).flatmap(
    lambda found: st.lists(st.sampled_from("*/"), min_size=len(found), max_size=len(found)).map(
        lambda signs: "".join(f"{leaf} {sign} " for leaf, sign in zip(found, signs, strict=True))[:-3]
    )
)
sums = st.recursive(
    st.one_of(leaves, products),
    lambda inner: words("(", inner, st.sampled_from("+-"), inner, ")"),
    max_leaves=4,
)
moments = st.sampled_from(["'2026-01-05'", "1767571200000", "'2026-01-31'"])
tests = st.one_of(
    words(metric_fields, compared, numbers),
    words(st.one_of(metric_fields, sums), compared, sums).filter(reckons),
    words(dataset_fields, patterns, st.sampled_from(["'a'", "'b%'", "'d1'", "'train'", "'D_'"])),
    words(dataset_fields, st.sampled_from(["in", "not in"]), st.just("('a', 'd2', 'train')")),
    words(keys.map(lambda key: f"params.{key}"), compared, numbers),
    words(text_fields, patterns, st.one_of(texts, own)),
    words(st.one_of(text_fields, dataset_fields), st.sampled_from(["rlike", "not rlike"]), regular),
    words(st.just("attributes.artifact_uri"), patterns, st.sampled_from(["'%:/0/%'", "'%/ARTIFACTS'"])),
    words(
        st.just("artifact_uri"),
        st.just("rlike"),
        st.just("'^mlflow-artifacts:/[1-9]/[0-9a-f]{32}/artifacts$'"),
    ),
    words(text_fields, st.sampled_from(["in", "not in"]), lists),
    words(nullable, st.sampled_from(["is null", "is not null"])),
    words(st.sampled_from(["start_time", "end_time"]), compared, moments),
    words(st.just("data"), equal, st.sampled_from(["'flights@v1'", "'flights'", "'flight'", "'none'"])),
    words(
        st.just("model"),
        equal,
        st.sampled_from(["'delay'", "'delay@v1'", "'dela'", "'delay@champion'", "'delay@none'"]),
    ),
)
filters = st.recursive(
    tests,
    lambda inner: st.one_of(
        words(inner, st.sampled_from(["and", "or"]), inner),
        words("not", inner),
        words("(", inner, ")"),
    ),
    max_leaves=5,
)


def sorted_plainly(seen: list[Seen], field: str, key: str, descending: bool) -> list[str]:
    """By value, NaN after all numbers and missing ones last in both directions, then the newest first."""

    def place(run: Seen) -> tuple[int, list[float | bytes]]:
        if field == "metrics":
            value = run.detail.run.metrics.get(key)
            return (2, []) if value is None else (1, []) if math.isnan(value) else (0, [value])
        text = (run.params if field == "params" else run.tags).get(key)
        if text is None:
            return 2, []
        number = param_number(text) if field == "params" else None
        return (0, [number, text.encode()]) if number is not None else (1, [text.encode()])

    def compare(left: Seen, right: Seen) -> int:
        (left_class, left_value), (right_class, right_value) = place(left), place(right)
        if left_class != right_class:
            return left_class - right_class
        if left_value != right_value:
            return -1 if (left_value < right_value) is not descending else 1
        newest = (left.detail.run.start_time, left.detail.run.run_id) > (
            right.detail.run.start_time,
            right.detail.run.run_id,
        )
        return -1 if newest else 1

    return [each.detail.run.run_id for each in sorted(seen, key=cmp_to_key(compare))]


class SearchAgrees:
    """Subclasses give `settings_file`, the text of the workspace's everloop.toml. All tests see the same forty runs: one that
    adds others deletes them."""

    @pytest.fixture(scope="class")
    @classmethod
    def tracking(cls, settings_file: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tracking]:
        folder = tmp_path_factory.mktemp("search")
        (folder / "everloop.toml").write_text(settings_file)
        with LocalWorkspace(folder, clock=FakeClock(datetime(2026, 1, 1, tzinfo=UTC))) as workspace:
            aliased(workspace)
            yield workspace.tracking

    @pytest.fixture(scope="class")
    @classmethod
    def seen(cls, tracking: Tracking) -> list[Seen]:
        return filled(tracking)

    @pytest.mark.parametrize("few", [0, searching.FEW])
    def test_filters_and_orders(
        self, tracking: Tracking, seen: list[Seen], few: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(
            searching, "FEW", few
        )  # with 0, indexes are walked; else runs are looked up first
        everything = {each.detail.run.run_id for each in seen}

        @settings(suppress_health_check=[HealthCheck.too_slow])
        @given(filters)
        @example("metrics.model - metrics.lr != 0")
        @example("metrics.model / metrics.lr != 1 or not metrics.lr * 2 <= metrics.model")
        @example("metrics.model != metrics.lr")
        @example("params.model rlike '^t.ee$' or artifact_uri rlike '/1/.*s$'")
        @example("-metrics.model < params.lr * (metrics.lr + 1)")
        def agree(text: str) -> None:
            tree = parse_filter(text)
            assert tree is not None
            plainly = {each.detail.run.run_id for each in seen if matches(tree, each)}
            answer = tracking.search(text, limit=100)
            found = [run.run_id for run in answer.runs]
            assert set(found) == plainly
            assert tracking.search(text, limit=1, count=True).total == len(plainly)
            assert len(found) == len(plainly)
            turned = {run.run_id for run in tracking.search(f"not ({text})", limit=100).runs}
            assert turned == everything - plainly

        agree()
        for field in ("metrics", "params", "tags"):
            for key in (*KEYS, "none"):
                for descending in (False, True):
                    order = f'{field}."{key}"' + (" desc" if descending else "")
                    found = [run.run_id for run in tracking.search(order_by=[order]).runs]
                    assert found == sorted_plainly(seen, field, key, descending), order

    @pytest.mark.parametrize("few", [0, searching.FEW])
    @pytest.mark.parametrize(
        ("where", "order_by"),
        [
            ("", []),
            ("", ["params.model desc"]),
            ("", ["tags.lr", "metrics.model desc"]),
            ("", ["max(metrics.lr) desc", "name"]),
            (
                "params.model = 'tree' or metrics.lr != 0.5",
                ["metrics.`m x`", "params.lr desc", "end_time desc"],
            ),
            ("metrics.lr < 1", ["metrics.lr desc"]),
            ("params.model = 'tree'", ["user", "status desc"]),
        ],
    )
    def test_a_walk_over_pages_sees_every_run_once_even_while_runs_arrive(
        self,
        tracking: Tracking,
        seen: list[Seen],
        where: str,
        order_by: list[str],
        few: int,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(searching, "FEW", few)
        expected = [run.run_id for run in tracking.search(where, order_by=order_by, limit=100).runs]
        walked: list[str] = []
        arrived: list[str] = []
        page: str | None = ""
        while page is not None:
            answer = tracking.search(where, order_by=order_by, limit=3, page=page)
            walked += [run.run_id for run in answer.runs]
            page = answer.next_page
            new = tracking.create_run(name="B", params={"model": "tree", "lr": "0.7"})
            point = records.encode((records.POINT, "lr", 0.25, 0, 0))
            tracking.ship(new.run_id, 0, records.batch([point]))
            arrived.append(new.run_id)
        tracking.delete_runs(arrived)
        assert len(walked) == len(set(walked))
        assert [each for each in walked if each in expected] == expected

    def test_a_page_belongs_to_its_search(self, tracking: Tracking, seen: list[Seen]) -> None:
        page = tracking.search(order_by=["name"], limit=3).next_page or ""
        with pytest.raises(InvalidInput, match="another search"):
            tracking.search(order_by=["name desc"], limit=3, page=page)
        for broken in ("?", "AAAA", page[:-4]):
            with pytest.raises(InvalidInput, match="token of a page"):
                tracking.search(order_by=["name"], limit=3, page=broken)


class TestOnSqlite(SearchAgrees):
    @pytest.fixture(scope="class")
    @classmethod
    def settings_file(cls) -> str:
        return ""


class TestOnPostgres(SearchAgrees):
    @pytest.fixture(scope="class")
    @classmethod
    def settings_file(cls, postgres_ledger: tuple[str, str]) -> Iterator[str]:
        with new_database(*postgres_ledger) as address:
            yield f'ledger = "{address}"\n'


def test_the_vectors_of_mlflow(workspace: LocalWorkspace) -> None:
    """Filters and orders over six runs, with the answers that MLflow's server gave."""
    tracking: Tracking = workspace.tracking
    start = datetime(1970, 1, 1, tzinfo=UTC)
    six: list[tuple[str, int, dict[str, float], dict[str, str], dict[str, str]]] = [
        ("A", 1, {"rmse": 0.5, "m x": 1}, {"model": "tree", "lr": "0.1"}, {"t": "v", "a.b": "q"}),
        ("B", 2, {"rmse": math.nan}, {"model": "Tree"}, {}),
        ("C", 3, {"rmse": math.inf}, {"model": "linear"}, {"t": "w"}),
        ("D", 4, {}, {"model": "tree"}, {}),
        ("E", 5, {"rmse": -math.inf}, {}, {}),
        ("F", 5, {"rmse": 0.9}, {}, {}),
    ]
    for name, millisecond, metrics, params, tags in six:
        moment = start + timedelta(milliseconds=millisecond)
        run = tracking.create_run(name=name, start_time=moment, params=params, tags=tags)
        tracking.ship(run.run_id, 0, records.batch([records.encode((records.POINTS, metrics, 0, 0))]))

    def found(where: str, *order: str) -> str:
        return "".join(run.name for run in tracking.search(where, order_by=list(order)).runs)

    for where, names in {
        'metrics.rmse < 1 and params.model = "tree"': "A",
        "metrics.rmse < 1": "FEA",
        "metrics.rmse > -1": "FCA",
        "metrics.rmse != 0.5": "FECB",
        "metrics.`m x` = 1": "A",
        'metrics."m x" = 1': "A",
        "params.model = 'tree'": "DA",
        "params.model != 'tree'": "CB",
        "params.model LIKE 'tr%'": "DA",
        "params.model ILIKE 'tr%'": "DBA",
        "params.model LIKE 't_ee'": "DA",
        "params.lr IS NULL": "FEDCB",
        "params.lr IS NOT NULL": "A",
        "tags.t IS NULL": "FEDB",
        "tags.a.b = 'q'": "A",
        "tags.`a.b` = 'q'": "A",
        "\"Run name\" = 'A'": "A",
        "start_time = 2": "B",
        "Created < 3": "BA",
        "end_time > 0": "",
        # which MLflow does not take
        "metrics.rmse = inf": "C",
        "metrics.rmse > -inf": "FCA",
        "metrics.rmse != metrics.rmse": "B",
    }.items():
        assert found(where) == names, where
    for order, names in {
        "metrics.rmse": "EAFCBD",
        "metrics.rmse DESC": "CFAEBD",
        "params.lr": "AFEDCB",
        "params.model DESC": "DACBFE",
        "tags.t": "ACFEDB",
        "start_time ASC": "ABCDFE",
        "metrics.nope": "FEDCBA",
    }.items():
        assert found("", order) == names, order


@pytest.mark.parametrize(
    ("asked", "index"),
    [
        ({"order_by": ["metrics.lr"]}, "ix_run_metrics_key_last_run"),
        (
            {"order_by": ["min(metrics.lr) desc"], "where": "params.model = 'tree'"},
            "ix_run_metrics_key_min_run",
        ),
        ({"order_by": ["params.lr"]}, "ix_run_params_key_number_run"),
        ({"order_by": ["tags.lr desc"]}, "ix_run_tags_key_head_run"),
        ({"where": "params.model = 'tree' or metrics.lr > 0"}, "ix_runs_state_start_time_id"),
        ({"where": "metrics.lr > 0", "experiment": ["e"]}, "ix_runs_experiment_state_start_time_id"),
    ],
)
def test_a_page_is_read_along_an_index(
    workspace: LocalWorkspace, asked: dict[str, list[str]], index: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What makes a search as quick among very many runs: the index has the order, and nothing is sorted but ties."""
    monkeypatch.setattr(searching, "FEW", 0)
    searching._passing.cache_clear()  # statements that were made with another number
    filled(workspace.tracking)
    statements: list[tuple[str, Any]] = []

    @sa.event.listens_for(sa.Engine, "before_cursor_execute")
    def hear(_: object, __: object, statement: str, values: Any, ___: object, ____: bool) -> None:
        statements.append((statement, values))

    try:
        workspace.tracking.search(limit=3, **asked)  # type: ignore[arg-type]
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", hear)
        searching._passing.cache_clear()
    statement, values = next(each for each in statements if "term0" in each[0])
    with sqlite3.connect(workspace.folder / "ledger.db") as ledger:
        plan = [row[3] for row in ledger.execute("explain query plan " + statement, values)]
    assert index in plan[0]
    assert "SCAN" not in "\n".join(plan)
    assert "USE TEMP B-TREE FOR ORDER BY" not in plan
