"""What every online store promises, run over each backend: see `everloop.features.online.contract.OnlineStore`."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.examples import fewer

from everloop.errors import InvalidInput, NotFound
from everloop.features.online.contract import (
    NEVER,
    Changed,
    Found,
    Held,
    Layout,
    OnlineStore,
    Packed,
    Wanted,
    encode_key,
    encode_values,
)

LAYOUT = Layout(("user",), ("int64",), ("x", "word"), 2, None)
SUMS = Layout(("user",), ("int64",), ("total",), 0, None)


def view(until: int = 100, *, version: int = 1, layout: Layout = LAYOUT, name: str = "users") -> Held:
    return Held(f"feature:{name}@v{version}", name, version, layout, until)


def row(user: int, event: int, x: Any = None, *, created: int | None = None) -> Packed:
    values = encode_values([event if x is None else x, "ä"])
    return Packed(encode_key([user]), event, event if created is None else created, values)


def wanted(*users: int, name: str = "users", version: int | None = None) -> Wanted:
    return Wanted(name, version, lambda layout: [encode_key([user]) for user in users])


class OnlineStoreContract:
    """A backend's test subclasses this and gives the fixture `open_store`: called again, it opens the same store anew."""

    @pytest.fixture
    def open_store(self, tmp_path: Any) -> Callable[[], OnlineStore]:
        raise NotImplementedError

    @pytest.fixture
    def store(self, open_store: Callable[[], OnlineStore]) -> OnlineStore:
        return open_store()

    def events(self, store: OnlineStore, *users: int, **named: Any) -> list[int | None]:
        one = None
        if len(users) == 1:
            one = store.read_one(
                named.get("name", "users"), named.get("version"), lambda _: encode_key([*users])
            )
        [answered] = store.read([wanted(*users, **named)])
        assert one is None or one == (answered.held, answered.rows[0])
        return [None if found is None else found.event for found in answered.rows]

    def test_rows_come_in_the_order_of_the_keys(self, store: OnlineStore) -> None:
        assert store.fill(view(), [row(n, n) for n in range(50)]) == Changed(50, 0, 50)
        [answered] = store.read([wanted(7, 99, 3, 7)])
        assert answered.held == view()
        assert [each and each.event for each in answered.rows] == [7, None, 3, 7]
        assert answered.rows[2] == Found(3, 3, row(3, 3).values)
        assert self.events(store, 5) == [5]
        assert self.events(store) == []

    def test_more_keys_than_fit_into_one_question(self, store: OnlineStore) -> None:
        store.fill(view(5_000), [row(n, n) for n in range(3_000)])
        assert self.events(store, *range(2_999, -1, -1)) == list(range(2_999, -1, -1))

    def test_what_another_process_wrote_is_seen(self, open_store: Callable[[], OnlineStore]) -> None:
        mine, other = open_store(), open_store()
        other.fill(view(), [row(1, 1)])
        assert self.events(mine, 1) == [1]
        other.fill(view(200), [row(1, 2), row(2, 2)])
        assert (self.events(mine, 1), self.events(mine, 1, 2)) == ([2], [2, 2])
        assert mine.read([wanted(1)])[0].held.until == 200
        other.fill(view(200, version=2, layout=SUMS), [Packed(encode_key([1]), 9, 9, encode_values([3]))])
        assert mine.read([wanted(1)])[0].held.version == 2
        assert self.events(mine, 1, version=1) == [2]

    def test_only_what_changed_is_written(self, store: OnlineStore) -> None:
        store.fill(view(100), [row(1, 1), row(2, 2), row(3, 3)])
        assert store.fill(view(200), [row(1, 1), row(2, 150), row(4, 4)]) == Changed(2, 1, 3)
        assert self.events(store, 1, 2, 3, 4) == [1, 150, None, 4]
        assert store.fill(view(300), [row(1, 1), row(2, 150), row(4, 4)]) == Changed(0, 0, 3)
        assert store.held() == [view(300)]

    def test_a_correction_of_the_data_replaces_a_row_that_is_not_newer(self, store: OnlineStore) -> None:
        store.fill(view(100), [row(1, 50, "wrong")])
        store.fill(view(200), [row(1, 40, "right")])
        assert self.events(store, 1) == [40]

    def test_aggregates_that_are_as_they_were_are_not_written(self, store: OnlineStore) -> None:
        def sums(until: int, total: float) -> list[Packed]:
            return [Packed(encode_key([1]), until, until, encode_values([total]))]

        store.fill(view(100, layout=SUMS), sums(100, 7.0))
        assert store.fill(view(200, layout=SUMS), sums(200, 7.0)) == Changed(0, 0, 1)
        assert store.fill(view(300, layout=SUMS), sums(300, 8.0)) == Changed(1, 0, 1)

    def test_an_older_state_is_refused(self, store: OnlineStore) -> None:
        store.fill(view(200), [row(1, 1)])
        with pytest.raises(InvalidInput, match="which is later"):
            store.fill(view(100), [row(1, 0)])
        assert self.events(store, 1) == [1]

    def test_an_older_late_row_does_not_overwrite(self, store: OnlineStore) -> None:
        store.fill(view(100), [row(1, 50, created=60)])
        assert store.put(view(), [row(1, 40, created=300)]) == 0
        assert store.put(view(), [row(1, 50, created=59)]) == 0
        assert self.events(store, 1) == [50]
        assert store.put(view(), [row(1, 50, "again", created=60)]) == 1
        assert store.put(view(), [row(1, 50, "again", created=60)]) == 0
        assert store.put(view(), [row(1, 70), row(2, 10)]) == 2
        assert self.events(store, 1, 2) == [70, 10]

    def test_what_was_pushed_later_survives_a_filling(self, store: OnlineStore) -> None:
        store.fill(view(100), [row(1, 50)])
        store.put(view(), [row(1, 250), row(2, 180), row(3, 10, created=260)])
        assert store.fill(view(200), [row(1, 150)]) == Changed(0, 1, 2)
        assert self.events(store, 1, 2, 3) == [250, None, 10]
        store.fill(view(300), [row(1, 250), row(3, 10, created=260)])
        assert self.events(store, 1, 2, 3) == [250, None, 10]

    def test_what_came_since_is_added_to_what_is_there(self, store: OnlineStore) -> None:
        store.fill(view(100), [row(1, 50), row(2, 60), row(3, 70)])
        store.put(view(), [row(2, 250)])
        came = [row(1, 150), row(2, 160), row(3, 40, created=180), row(4, 190)]
        assert store.fill(view(200), came, complete=False) == Changed(2, 0, 4)
        assert self.events(store, 1, 2, 3, 4) == [150, 250, 70, 190]
        assert store.fill(view(300), [], complete=False) == Changed(0, 0, 4)
        assert store.held() == [view(300)]
        with pytest.raises(InvalidInput, match="which is later"):
            store.fill(view(200), [], complete=False)

    def test_a_view_may_begin_with_a_push(self, store: OnlineStore) -> None:
        assert store.put(view(5), [row(1, 1)]) == 1
        [answered] = store.read([wanted(1, 2)])
        assert answered.held == view(NEVER)
        assert [each is not None for each in answered.rows] == [True, False]
        store.fill(view(100), [row(2, 2)])
        assert self.events(store, 1, 2) == [None, 2]

    def test_rows_of_another_layout_begin_anew(self, store: OnlineStore) -> None:
        store.fill(view(100), [row(1, 1), row(2, 2)])
        text = Layout(("user",), ("string",), ("x", "word"), 2, None)
        with pytest.raises(InvalidInput, match="other types"):
            store.put(view(layout=text), [row(1, 200)])
        store.fill(view(200, layout=text), [Packed(encode_key(["1"]), 1, 1, encode_values([1, ""]))])
        [answered] = store.read([Wanted("users", None, lambda layout: [encode_key(["1"]), encode_key([1])])])
        assert answered.held.layout == text
        assert [each is not None for each in answered.rows] == [True, False]

    def test_several_views_in_one_answer(self, store: OnlineStore) -> None:
        store.fill(view(), [row(1, 1)])
        store.fill(view(name="others", version=3), [row(1, 5), row(2, 6)])
        first, second = store.read([wanted(1), wanted(2, 1, name="others", version=3)])
        assert [each.event for each in first.rows if each] == [1]
        assert [each.event for each in second.rows if each] == [6, 5]
        assert [each.reference for each in store.held()] == ["feature:others@v3", "feature:users@v1"]

    def test_what_is_not_there_is_named(self, store: OnlineStore) -> None:
        assert store.held() == []
        with pytest.raises(NotFound):
            store.read([wanted(1)])
        store.fill(view(), [row(1, 1)])
        with pytest.raises(NotFound, match="no 'user'") as wrong:
            store.read([wanted(1, name="user")])
        assert "'users'" in wrong.value.hint
        with pytest.raises(NotFound, match="no 'user'"):
            store.read_one("user", None, lambda _: encode_key([1]))
        with pytest.raises(NotFound, match="at version 2"):
            store.read([wanted(1, version=2)])

    def test_a_version_is_forgotten_alone(self, store: OnlineStore) -> None:
        store.fill(view(), [row(1, 1)])
        store.fill(view(version=2), [row(1, 2)])
        assert self.events(store, 1) == [2]
        assert (store.drop("feature:users@v2"), store.drop("feature:users@v2")) == (True, False)
        assert self.events(store, 1) == [1]
        assert store.drop("feature:users@v1")
        with pytest.raises(NotFound):
            store.read([wanted(1)])
        store.fill(view(50), [row(1, 3)])
        assert self.events(store, 1) == [3]

    def test_a_reader_sees_all_of_a_filling_or_nothing(self, open_store: Callable[[], OnlineStore]) -> None:
        writer, reader = open_store(), open_store()
        users = range(200)
        writer.fill(view(1_000), [row(n, 0) for n in users])
        stop, seen = threading.Event(), []

        def look() -> None:
            while not stop.is_set():
                [answered] = reader.read([wanted(*users)])
                seen.append({each.event if each else None for each in answered.rows})

        thread = threading.Thread(target=look)
        thread.start()
        try:
            for round_ in range(1, 20):
                writer.fill(view(1_000 + round_), [row(n, round_) for n in users])
        finally:
            stop.set()
            thread.join()
        assert seen
        assert all(len(each) == 1 and None not in each for each in seen)

    def test_threads_push_at_once(self, store: OnlineStore) -> None:
        def push(start: int) -> None:
            for event in range(start, 60, 3):
                store.put(view(), [row(1, event), row(2 + start, event)])

        threads = [threading.Thread(target=push, args=(start,)) for start in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert self.events(store, 1, 2, 3, 4) == [59, 57, 58, 59]

    @given(
        st.lists(
            st.tuples(st.integers(1, 3), st.integers(0, 9), st.integers(0, 9), st.integers(0, 3)),
            max_size=20,
        )
    )
    @settings(
        fewer(0.4),
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
    )  # one store for all examples, one law for all stores
    def test_pushes_leave_the_greatest(
        self, store: OnlineStore, pushes: list[tuple[int, int, int, int]]
    ) -> None:
        """Whatever order rows come in, (event, created) decides; of equal ones the last that came."""
        store.drop("feature:users@v1")
        expected: dict[int, tuple[int, int, int]] = {}
        for user, event, created, value in pushes:
            store.put(view(), [row(user, event, value, created=created)])
            if user not in expected or (event, created) >= expected[user][:2]:
                expected[user] = (event, created, value)
        if not pushes:
            return
        [answered] = store.read([wanted(1, 2, 3)])
        for user, found in zip((1, 2, 3), answered.rows, strict=True):
            if user not in expected:
                assert found is None
            else:
                event, created, value = expected[user]
                assert found == Found(event, created, encode_values([event if value is None else value, "ä"]))
