"""Profiles as a user meets them: what a table holds, what it costs to ask again, what shifted, what looks personal."""

import math
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import everloop as ev
from everloop.cli.main import main
from everloop.data.profiles import keeping as profiles
from everloop.data.profiles.profiling import profile_batches
from everloop.domain.personal import find_personal, is_card, is_iban, is_phone
from everloop.domain.profiles import ColumnProfile, Profile
from everloop.errors import InvalidInput
from everloop.stats.sketches import TableSketch, pack, unpack
from everloop.workspace.local import LocalWorkspace
from everloop.workspace.workspace import Workspace


def flights(rows: int = 3000, seed: int = 0, shift: float = 0.0) -> pa.Table:
    rng = np.random.default_rng(seed)
    temp = rng.normal(60 + shift, 12, rows)
    temp[:30] = math.nan
    return pa.table(
        {
            "flight": np.arange(rows) + seed * rows,
            "temp": pa.array(temp),
            "wind": pa.array([None if n % 10 == 0 else float(n % 7) for n in range(rows)]),
            "carrier": rng.choice(["AA", "UA", "DL"], rows, p=[0.6, 0.3, 0.1]).tolist(),
            "day": pa.array([date(2013, 1, 1) + timedelta(n * 20 // rows) for n in range(rows)]),
            "late": rng.random(rows) < 0.25,
            "source": ["api"] * rows,
            "contact": [f"user{n}@example.com" for n in range(rows)],
        }
    )


def column(profile: Profile, name: str) -> ColumnProfile:
    return next(each for each in profile.columns if each.name == name)


class TestAnyWorkspace:
    """The same here and behind a server."""

    def test_a_profile_says_what_a_table_holds(self, any_workspace: Workspace) -> None:
        any_workspace.data.add(flights(), "flights")
        profile = any_workspace.data.profile("flights")
        assert (profile.reference, profile.rows, profile.duplicates) == ("data:flights@v1", 3000, 0)
        assert profile.constant == ["source"]
        temp, wind, carrier = (column(profile, name) for name in ("temp", "wind", "carrier"))
        assert (temp.nulls, temp.nans, wind.nulls, wind.nans) == (0, 30, 300, 0)
        assert temp.number is not None
        assert temp.number.mean == pytest.approx(60, abs=1)
        assert temp.number.quantiles["0.5"] == pytest.approx(60, abs=1)
        assert temp.number.histogram is not None
        assert (
            sum(temp.number.histogram.counts) + temp.number.histogram.below + temp.number.histogram.above
            == 2970
        )
        assert (carrier.distinct, carrier.distinct_error) == (3, 0.0)
        assert carrier.top[0].value == "AA"
        assert sum(each.count for each in carrier.top) == 3000
        day = column(profile, "day").time
        assert day is not None
        assert (day.low, day.high, day.covered, day.spanned, day.gaps) == (
            "2013-01-01",
            "2013-01-20",
            20,
            20,
            [],
        )
        assert [(name, found.what) for name, found in profile.personal] == [("contact", "e-mail address")]
        assert "late" in profile.correlations.columns
        assert profile.correlations.left_out["carrier"] == "it holds no numbers (text)"

    def test_it_is_kept_and_told_again(self, any_workspace: Workspace) -> None:
        any_workspace.data.add(flights(), "flights")
        assert any_workspace.data.kept_profile("flights") is None
        made = any_workspace.data.profile("flights")
        assert any_workspace.data.kept_profile("flights@v1") == made
        assert any_workspace.data.profile("flights") == made
        assert any_workspace.data.profile("flights", again=True).made > made.made

    def test_datasets_at_a_glance(self, any_workspace: Workspace) -> None:
        suite = ev.checks(
            "sane", dataset="flights", checks=[ev.check.in_range("temp", -60, 90, severity="quarantine")]
        )
        any_workspace.data.add(flights(50), "flights")
        any_workspace.data.add(flights(50, seed=2, shift=20), "flights", checks=suite)
        with any_workspace.tracking.start("delay"):
            any_workspace.data.dataset("flights@v1").to_arrow(columns=["temp"])
        found = {each.name: each for each in any_workspace.data.overview()}
        assert list(found) == ["flights", "flights/quarantine"]
        whole, aside = found.values()
        assert (whole.latest, whole.versions, whole.readers) == ("data:flights@v2", 2, 1)
        assert (whole.rows, whole.quarantined) == (50 - (aside.rows or 0), aside.rows)
        assert whole.report is not None
        assert not whole.report.passed
        assert (aside.quarantined, aside.report, aside.readers) == (None, None, 0)

    def test_what_shifted_is_told_first(self, any_workspace: Workspace) -> None:
        any_workspace.data.add(flights(), "flights")
        after = flights(seed=1, shift=9).set_column(3, "carrier", pa.array(["AA", "XX"] * 1500))
        any_workspace.data.add(after.drop_columns(["late"]), "flights")
        found = any_workspace.data.compare_profiles("flights@v1", "flights@v2")
        assert {"temp", "carrier"} <= set(found.columns)
        assert not {"wind", "day", "source"} & set(found.columns)
        assert found.not_compared == {"late": "only data:flights@v1 has it"}
        temp = next(each for each in found.shifts if each.column == "temp" and each.aspect == "distribution")
        assert temp.effect == pytest.approx(9 / 12, abs=0.1)
        assert sum(found.steps["carrier"].second) == pytest.approx(1)
        only = any_workspace.data.compare_profiles("flights@v1", "flights@v2", columns=["wind"])
        assert {each.column for each in only.shifts} == {"wind"}


class TestParts:
    def test_an_appended_version_reads_the_new_file_only(
        self, workspace: LocalWorkspace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(profiles, "KEPT_FROM", 0)
        read: list[list[str]] = []
        sketched = workspace.data._sketched
        monkeypatch.setattr(
            workspace.data, "_sketched", lambda files: read.append([f.path for f in files]) or sketched(files)
        )
        for month in range(3):
            table = flights(1000, seed=month)
            workspace.data.add(table, "flights", append=True, file=f"{month}.parquet")
            profile = workspace.data.profile("flights")
            assert (profile.parts, profile.parts_reused) == (month + 1, month)
        assert read == [["0.parquet"], ["1.parquet"], ["2.parquet"]]
        workspace.data.add(pa.concat_tables([flights(1000, seed=s) for s in range(3)]), "whole")
        whole = workspace.data.profile("whole")
        for name in ("flight", "carrier", "wind", "day", "contact"):
            one, other = column(profile, name), column(whole, name)
            assert (one.distinct, one.nulls, one.unique) == (other.distinct, other.nulls, other.unique)
        assert column(profile, "carrier").top == column(whole, "carrier").top
        assert profile.duplicates == whole.duplicates

    def test_columns_that_folders_spell_are_profiled_too(
        self, workspace: LocalWorkspace, tmp_path: Path
    ) -> None:
        for month in ("1", "2", "x"):
            folder = tmp_path / "t" / f"month={month}"
            folder.mkdir(parents=True)
            pq.write_table(pa.table({"id": [1, 2]}), folder / "x.parquet")
        workspace.data.add(tmp_path / "t", "t")
        month_ = column(workspace.data.profile("t"), "month")
        assert (month_.kind, month_.distinct) == ("text", 3)

    def test_a_damaged_or_collected_part_is_made_again(
        self, workspace: LocalWorkspace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(profiles, "KEPT_FROM", 0)
        workspace.data.add(flights(500), "flights")
        first = workspace.data.profile("flights")
        monkeypatch.setattr(
            workspace.data,
            "kept_sketches",
            lambda files, schema: [profiles.StoredPart(file, schema, "0" * 64, 1) for file in files],
        )
        workspace.data.add(flights(500, seed=1), "flights", append=True, file="more.parquet")
        again = workspace.data.profile("flights")
        assert (again.rows, again.parts_reused) == (1000, 0)
        assert first.rows == 500

    def test_files_that_are_no_table_have_no_profile(self, workspace: LocalWorkspace, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").write_text("hello")
        workspace.data.add(tmp_path / "notes.txt", "notes")
        with pytest.raises(InvalidInput, match="not one table"):
            workspace.data.profile("notes")

    def test_a_profile_of_other_files_is_refused(self, workspace: LocalWorkspace) -> None:
        workspace.data.add(flights(100), "flights")
        profile = workspace.data.profile("flights")
        workspace.data.add(flights(100, seed=1), "flights")
        import msgspec

        digest = workspace.objects.put(msgspec.json.encode(profile)).digest
        with pytest.raises(InvalidInput, match="of other files"):
            workspace.data.record_profile("flights@v2", digest, [])

    @pytest.mark.parametrize("ending", ["csv", "parquet"])
    def test_files_of_both_kinds(self, workspace: LocalWorkspace, tmp_path: Path, ending: str) -> None:
        path = tmp_path / f"t.{ending}"
        if ending == "csv":
            path.write_text("id,code\n1,a\n2,\n3,b\n")
        else:
            pq.write_table(pa.table({"id": [1, 2, 3], "code": ["a", "", "b"]}), path)
        workspace.data.add(path, "t")
        profile = workspace.data.profile("t")
        assert profile.rows == 3
        assert column(profile, "id").unique
        text = column(profile, "code").text
        assert text is not None
        assert text.empty == 1


class TestColumns:
    """Every type has a profile, and odd values are told for what they are."""

    def profiled(self, workspace: LocalWorkspace, **columns: object) -> Profile:
        workspace.data.add(pa.table(columns), "t")
        return workspace.data.profile("t")

    def test_every_type(self, workspace: LocalWorkspace) -> None:
        moment = datetime(2013, 5, 1, 12, tzinfo=UTC)
        profile = self.profiled(
            workspace,
            whole=pa.array([1, 2, None], pa.int8()),
            large=pa.array([2**63, 1, 2], pa.uint64()),
            half=pa.array(np.array([1.5, 2.5, np.nan], np.float16)),
            money=pa.array([Decimal("1.10"), Decimal("2.20"), None], pa.decimal128(10, 2)),
            word=pa.array(["a", "b", "a"]).dictionary_encode(),
            when=pa.array([moment, moment + timedelta(hours=1), None], pa.timestamp("ns", "UTC")),
            day=pa.array([date(1969, 12, 31), date(2013, 1, 1), None], pa.date64()),
            raw=pa.array([b"\x00\xff", b"", None]),
            items=pa.array([[1, 2], [], None]),
            pair=pa.array([{"x": 1}, {"x": 2}, None]),
            nothing=pa.nulls(3),
            flag=pa.array([True, None, True]),
        )
        kinds = {each.name: (each.kind, each.nulls, each.nans, each.distinct) for each in profile.columns}
        assert kinds == {
            "whole": ("number", 1, 0, 2),
            "large": ("number", 0, 0, 3),
            "half": ("number", 0, 1, 2),
            "money": ("number", 1, 0, 2),
            "word": ("text", 0, 0, 2),
            "when": ("time", 1, 0, 2),
            "day": ("time", 1, 0, 2),
            "raw": ("other", 1, 0, 2),
            "items": ("other", 1, 0, 2),
            "pair": ("other", 1, 0, 2),
            "nothing": ("other", 3, 0, 0),
            "flag": ("boolean", 1, 0, 1),
        }
        when, day = column(profile, "when").time, column(profile, "day").time
        assert when is not None
        assert day is not None
        assert (when.low, day.low) == ("2013-05-01T12:00:00", "1969-12-31")
        assert column(profile, "nothing").constant
        assert not column(profile, "flag").constant  # missing or true: that tells something

    def test_infinities_zeros_and_signs(self, workspace: LocalWorkspace) -> None:
        values = [math.inf, -math.inf, 0.0, -0.0, -3.0, 5.0, math.nan, None]
        found = column(self.profiled(workspace, x=pa.array(values)), "x")
        assert (found.nulls, found.nans, found.distinct) == (1, 1, 5)
        assert found.number is not None
        facts = found.number
        assert (facts.infinite, facts.zeros, facts.negative, facts.low, facts.high) == (2, 2, 2, None, None)
        assert facts.mean == 0.5

    def test_no_rows_and_no_values(self, workspace: LocalWorkspace) -> None:
        empty = pa.table(
            {"x": pa.array([], pa.float64()), "t": pa.array([], pa.string()), "d": pa.array([], pa.date32())}
        )
        workspace.data.add(empty, "t")
        profile = workspace.data.profile("t")
        assert (profile.rows, profile.duplicates) == (0, 0)
        assert [each.distinct for each in profile.columns] == [0, 0, 0]
        assert "# Datasheet: t v1" in workspace.data.datasheet("t")

    def test_gaps_between_dates(self, workspace: LocalWorkspace) -> None:
        days = [date(2013, 1, 1), date(2013, 1, 2), date(2013, 3, 1)]
        facts = column(self.profiled(workspace, day=pa.array(days)), "day").time
        assert facts is not None
        assert [(gap.after, gap.before, gap.missing) for gap in facts.gaps] == [
            ("2013-01-02", "2013-03-01", 57)
        ]

    def test_texts_that_are_numbers_or_dates_are_told(self, workspace: LocalWorkspace) -> None:
        profile = self.profiled(
            workspace, n=["1", "2.5", ""], d=["2013-01-01", "2013-01-02", " "], t=["x", "1", "2"]
        )
        found = {
            each.name: (each.text.reads_as, each.text.empty, each.text.blank)
            for each in profile.columns
            if each.text
        }
        assert found == {"n": ("number", 1, 0), "d": ("date", 0, 1), "t": ("", 0, 0)}

    def test_duplicate_rows_are_counted(self, workspace: LocalWorkspace) -> None:
        profile = self.profiled(workspace, a=[1, 1, 1, 2], b=[math.nan, math.nan, None, 1.0])
        assert (profile.duplicates, profile.duplicates_exact) == (1, True)  # NaN equals NaN, and not null

    def test_two_columns_of_one_name_are_refused(self, workspace: LocalWorkspace, tmp_path: Path) -> None:
        schema = pa.schema([("a", pa.int64()), ("a", pa.int64())])
        with pytest.raises(InvalidInput, match="two columns called 'a'"):
            profile_batches(schema, [])


rows = st.fixed_dictionaries(
    {
        "x": st.none() | st.floats(allow_nan=True, allow_infinity=True) | st.sampled_from([0.0, 1.0]),
        "n": st.none() | st.integers(-3, 3),
        "t": st.none() | st.text(max_size=3),
    }
)
SCHEMA = pa.schema([("x", pa.float64()), ("n", pa.int64()), ("t", pa.string())])


@given(st.lists(st.lists(rows, max_size=12), min_size=1, max_size=4))
def test_profiles_of_parts_add_up(parts: list[list[dict[str, object]]]) -> None:
    def of(some: list[dict[str, object]]) -> TableSketch:
        return profile_batches(SCHEMA, [pa.RecordBatch.from_pylist(some, schema=SCHEMA)])

    merged = unpack(pack(of(parts[0])))
    for part in parts[1:]:
        merged = merged.merge(of(part))
    everything = [row for part in parts for row in part]
    whole = of(everything)
    assert merged.rows == whole.rows == len(everything)
    assert merged.row_hashes.counts.tolist() == whole.row_hashes.counts.tolist()
    for name in SCHEMA.names:
        one, other = merged.columns[name], whole.columns[name]
        truth = [row[name] for row in everything]
        assert one.nulls == other.nulls == truth.count(None)
        assert one.nans == sum(value != value for value in truth)
        there = [value for value in truth if value is not None and value == value]
        assert one.distinct.distinct == other.distinct.distinct == len(set(there))
        assert sorted(one.frequent.top(), key=str) == sorted(other.frequent.top(), key=str)
        assert sum(count for _, count in one.frequent.top()) == len(there)


class TestPersonal:
    @pytest.mark.parametrize(
        ("name", "values", "what", "confidence"),
        [
            ("contact", ["a@b.org", "c.d@e.co.uk"], "e-mail address", "high"),
            ("text", ["write to ann@example.com", *["nothing here"] * 5], "e-mail address", "medium"),
            ("note", ["write to ann@example.com", *["nothing here"] * 50], "e-mail address", "low"),
            ("x", ["GB82 WEST 1234 5698 7654 32", "DE89370400440532013000"], "IBAN", "high"),
            ("x", ["4111 1111 1111 1111", "5500005555555559"], "payment card", "high"),
            ("phone", ["+1 212 555 0147", "(212) 555-0147"], "telephone number", "high"),
            ("x", ["10.0.0.1", "2001:db8::1"], "IP address", "high"),
            ("Surname", ["Doe", "Roe"], "name of a person", "low"),
            ("dateOfBirth", ["1970-01-01"], "date of birth", "low"),
        ],
    )
    def test_what_is_found(self, name: str, values: list[str], what: str, confidence: str) -> None:
        found = find_personal(name, values)[0]
        assert (found.what, found.confidence) == (what, confidence)

    @pytest.mark.parametrize(
        ("name", "values"),
        [
            ("carrier", ["AA", "UA"]),
            ("day", ["2013-01-01", "2013-05-01"]),
            ("temp", ["60.125", "61.5"]),
            ("version", ["1.2.3", "1.10.0"]),
            ("number", [str(n) for n in range(10_000_000_000_000, 10_000_000_000_200)]),
            ("tailnum", ["N12345", "N54321"]),
        ],
    )
    def test_what_is_not(self, name: str, values: list[str]) -> None:
        assert find_personal(name, values) == []

    def test_whole_numbers_are_cards_only_when_nearly_all_pass(self) -> None:
        cards = [4111111111111111, 5500005555555559, 4012888888881881]
        assert find_personal("x", map(str, cards), integers=True)[0].what == "payment card"
        assert find_personal("x", map(str, range(4111111111111111, 4111111111112111)), integers=True) == []

    def test_check_digits(self) -> None:
        assert is_iban("FR1420041010050500013M02606")
        assert not is_iban("FR1420041010050500013M02607")
        assert not is_card("4111111111111112")
        assert not is_phone("12:30")

    def test_values_of_such_a_column_are_masked(self, workspace: LocalWorkspace) -> None:
        workspace.data.add(pa.table({"who": ["ann@example.com", "ann@example.com", "bob@example.org"]}), "t")
        found = column(workspace.data.profile("t"), "who")
        assert found.masked
        assert found.top[0].value == "aaa@aaaaaaa.aaa"


class TestCommands:
    @pytest.fixture(autouse=True)
    def in_the_project(self, workspace: LocalWorkspace, monkeypatch: pytest.MonkeyPatch) -> None:
        workspace.project.mkdir(parents=True, exist_ok=True)
        monkeypatch.chdir(workspace.project)
        workspace.data.add(flights(), "flights")
        workspace.data.add(flights(seed=1, shift=9), "flights")

    def test_profile(self, capsys: pytest.CaptureFixture[str]) -> None:
        import json

        assert main(["data", "profile", "flights@v1", "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert {"reference", "rows", "columns", "duplicates", "correlations"} <= set(found)
        assert main(["data", "profile", "flights@v1"]) == 0
        shown = capsys.readouterr().out
        assert "3,000 rows" in shown
        assert "contact seems to hold personal data: e-mail address" in shown

    def test_against(self, capsys: pytest.CaptureFixture[str]) -> None:
        import json

        assert main(["data", "profile", "flights@v2", "--against", "flights@v1", "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert (found["first"], found["second"]) == ("data:flights@v1", "data:flights@v2")
        assert "temp" in found["columns"]
        assert main(["data", "profile", "flights@v2", "--against", "flights@v1"]) == 0
        assert "temp" in capsys.readouterr().out

    def test_datasheet(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        import json

        assert main(["data", "datasheet", "flights@v1"]) == 0
        shown = capsys.readouterr().out
        assert "# Datasheet: flights v1" in shown
        assert "| temp | double | 1.00% |" in shown
        assert "_To be answered._" in shown
        assert main(["data", "datasheet", "flights", "--out", str(tmp_path / "sheet.md"), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["path"] == str(tmp_path / "sheet.md")
        assert (tmp_path / "sheet.md").read_text().startswith("# Datasheet: flights v2")
