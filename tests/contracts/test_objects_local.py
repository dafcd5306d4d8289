"""The object store in a folder: the contract, and what only a folder can go through."""

import contextlib
import errno
import itertools
import os
import resource
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.contracts.objects_contract import ContentStoreContract, noise, sha256

from everloop.errors import InvalidInput, StorageError
from everloop.store.objects import ContentStore, LocalBucket, open_objects, packs
from everloop.store.objects.buckets import STALE_AFTER


class TestLocal(ContentStoreContract):
    @pytest.fixture
    def bucket(self, tmp_path: Path) -> LocalBucket:
        return LocalBucket(tmp_path / "store")


contents = st.one_of(
    st.binary(max_size=200),
    st.builds(noise, st.integers(0, 400_000), st.integers(0, 3)),
    st.builds(lambda size, times: noise(size) * times, st.integers(1, 150_000), st.integers(1, 6)),
)


@settings(max_examples=25)
@given(batches=st.lists(st.lists(contents, max_size=5), max_size=4), alone=st.lists(contents, max_size=3))
def test_any_batches_are_read_back_by_anyone(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[bytes]], alone: list[bytes]
) -> None:
    root = tmp_path_factory.mktemp("batches")
    store = open_objects(root)
    for batch in batches:
        with store.writer() as writer:
            for content in batch:
                writer.add(content)
    for content in alone:
        store.put(content)
    expected = {sha256(content): content for content in [*(c for batch in batches for c in batch), *alone]}
    store.close()
    (root / "index.sqlite").unlink(missing_ok=True)
    again = open_objects(root)
    assert set(again.digests()) == set(expected)
    assert {digest: again.read(digest) for digest in expected} == expected
    assert list(again.verify()) == []
    again.close()


def test_many_objects_make_few_files(tmp_path: Path) -> None:
    store = open_objects(tmp_path)
    with store.writer() as writer:
        for number in range(2000):
            writer.add(b"%d" % number)
    assert len(list((tmp_path / "packs").iterdir())) == 1


def test_a_pack_is_closed_at_its_limit(tmp_path: Path) -> None:
    store = open_objects(tmp_path)
    data = noise(packs.LIMIT + packs.LIMIT // 4)
    store.put(data)
    sizes = sorted(file.stat().st_size for file in (tmp_path / "packs").iterdir())
    assert len(sizes) == 2
    assert sizes[1] < packs.LIMIT + 512 * 1024
    assert store.read(sha256(data)) == data


def test_no_recipe_is_there_before_all_of_its_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever pack does not make it into the store, what is there can be put together."""
    monkeypatch.setattr(packs, "LIMIT", 200_000)
    expected = {sha256(noise(600_000, seed)) for seed in range(3)}
    for fails_at in range(1, 50):
        root = tmp_path / str(fails_at)
        store = ContentStore(_FailingBucket(root, fails_at), root / "index.sqlite")
        with contextlib.suppress(StorageError), store.writer() as writer:
            for seed in range(3):
                writer.add(noise(600_000, seed))
        assert list(store.verify()) == []
        for digest in store.digests():
            store.read(digest)
        if set(store.digests()) == expected:
            break
    assert fails_at > 5, "there were several packs to fail at"


class _FailingBucket(LocalBucket):
    """Refuses one of the packs that are brought to it."""

    def __init__(self, root: Path, fails_at: int) -> None:
        super().__init__(root)
        self._left = itertools.count(fails_at - 1, -1)

    def put_file(self, key: str, staged: Path) -> bool:
        if key.startswith("packs/") and next(self._left) == 0:
            raise StorageError("no more")
        return super().put_file(key, staged)


def test_leftovers_of_killed_processes_are_swept_after_a_day(tmp_path: Path) -> None:
    staging = tmp_path / "staging"
    staging.mkdir()
    for name, age in [("old", STALE_AFTER + 10), ("young", STALE_AFTER - 10)]:
        (staging / name).write_bytes(b"half of someth")
        os.utime(staging / name, (1_000_000 - age, 1_000_000 - age))
    store = ContentStore(LocalBucket(tmp_path), tmp_path / "index.sqlite", clock=lambda: 1_000_000)
    assert list(store.digests()) == []
    assert list(store.verify()) == []
    store.put(b"first write")
    assert [file.name for file in staging.iterdir()] == ["young"]


def test_opening_makes_nothing(tmp_path: Path) -> None:
    open_objects(tmp_path / "store")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "address", ["gs://bucket", "s3:///prefix", "s3://bucket?endpont=http://x", "http://x/y"]
)
def test_an_address_of_another_shape_is_refused(address: str) -> None:
    with pytest.raises(InvalidInput, match="not the address of an object store"):
        open_objects(address)


def test_a_file_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InvalidInput, match="is a file"):
        open_objects(tmp_path / "file")


def test_a_store_whose_index_cannot_be_written_can_be_used(tmp_path: Path) -> None:
    digest = open_objects(tmp_path / "store").put(noise(600_000)).digest
    (tmp_path / "a file").write_bytes(b"")
    store = ContentStore(LocalBucket(tmp_path / "store"), tmp_path / "a file" / "index.sqlite")
    assert store.read(digest) == noise(600_000)
    assert list(store.verify()) == []


# A full disk

_WAYS = {
    "one small": lambda store: store.put(noise(200_000, 7)),
    "one large": lambda store: store.put(noise(3_000_000, 8)),
    "many": lambda store: _add_many(store),
}


def _add_many(store: ContentStore) -> None:
    with store.writer() as writer:
        for number in range(100):
            writer.add(noise(40_000, number))


def _assert_whole(store: ContentStore, root: Path) -> None:
    assert list(store.digests()) == [sha256(b"before")]
    assert store.read(sha256(b"before")) == b"before"
    assert list(store.verify()) == []
    assert list((root / "staging").iterdir()) == [], "what did not fit is thrown away: the disk is full"


@pytest.mark.parametrize("way", _WAYS)
@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_a_full_disk_is_said_and_the_store_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str, call: str
) -> None:
    store = open_objects(tmp_path)
    store.put(b"before")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    if call == "write":  # the kernel itself takes no more
        resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, limits[1]))
    else:
        monkeypatch.setattr(os, call, _full)
    try:
        with pytest.raises(StorageError, match=r"the disk is full|File too large"):
            _WAYS[way](store)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
        monkeypatch.undo()
    _assert_whole(store, tmp_path)
    _WAYS[way](store)
    assert list(store.verify()) == []


def _full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@contextlib.contextmanager
def _small_disk(folder: Path) -> Iterator[None]:
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if os.getuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("only root may mount a small disk")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("way", ["one large", "many"])
def test_a_disk_that_is_really_full(tmp_path: Path, way: str) -> None:
    with _small_disk(tmp_path / "disk"):
        root = tmp_path / "disk" / "store"
        store = open_objects(root)
        store.put(b"before")
        with pytest.raises(StorageError, match="the disk is full"):
            _WAYS[way](store)
        _assert_whole(store, root)
        store.put(b"after")
        assert store.read(sha256(b"after")) == b"after"
        store.close()
