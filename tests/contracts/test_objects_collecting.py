"""Freeing objects, on a folder and on a real S3: nothing that is needed goes, whoever writes meanwhile."""

import io
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule
from tests.contracts.objects_contract import noise
from tests.support.s3 import BUCKET, S3Server

from everloop.errors import Conflict, Corrupted, NotFound
from everloop.store.objects import Bucket, ContentStore, LocalBucket, S3Bucket, chunking
from everloop.store.objects.collecting import Plan
from everloop.store.objects.guards import STALE_AFTER, Busy

LATER = 1e12
"""A moment after every file was written: nothing is too young."""


def unneeded(*digests: str) -> list[bytes]:
    return [bytes.fromhex(digest) for digest in digests]


def collect(
    store: ContentStore, *digests: str, older_than: float = LATER, worth: float = 0.0
) -> tuple[Plan, set[str]]:
    """A collection of objects that nobody needs; the plan, and the keys of the files that went."""
    collection = store.collection()
    plan = collection.plan(unneeded(*digests), older_than=older_than, worth=worth)
    for each in plan.removals:
        if each.rewritten:
            collection.rewrite(each, plan.sizes)
    with store.removing():
        gone = {each.key for each in collection.remove(plan.removals, plan.sizes, older_than=older_than)}
    return plan, gone


def add(store: ContentStore, *contents: bytes) -> list[str]:
    with store.writer() as writer:
        return [writer.add(content).digest for content in contents]


@pytest.fixture(params=["folder", "s3"])
def bucket(request: pytest.FixtureRequest, tmp_path: Path) -> Bucket:
    if request.param == "folder":
        return LocalBucket(tmp_path / "store")
    server: S3Server = request.getfixturevalue("s3_server")
    prefix = urlsplit(request.getfixturevalue("s3_address")).path.strip("/")
    return S3Bucket(BUCKET, prefix=prefix, endpoint=server.endpoint, staging=tmp_path / "staging")


@pytest.fixture
def store(bucket: Bucket, tmp_path: Path) -> Iterator[ContentStore]:
    store = ContentStore(bucket, tmp_path / "index.sqlite")
    yield store
    store.close()


def test_what_nobody_needs_is_gone_and_the_rest_is_whole(store: ContentStore, bucket: Bucket) -> None:
    alone = store.put(b"alone").digest
    small, large, other = add(store, b"small", noise(900_000), noise(700_000, 1))
    before = sum(size for _, size in bucket.list("packs/"))
    plan, _ = collect(store, alone, large)
    assert {digest.hex() for digest in plan.sizes} == {alone, large}
    assert store.missing([alone, large, small, other]) == {alone, large}
    assert store.read(other) == noise(700_000, 1)
    after = sum(size for _, size in bucket.list("packs/"))
    assert 900_000 <= before - after <= plan.freed + 2_000
    assert list(bucket.list("loose/")) == []
    assert list(store.verify()) == []
    with pytest.raises(NotFound):
        store.read(large)


def test_chunks_that_others_share_stay(store: ContentStore) -> None:
    whole = noise(1_500_000)
    edited = whole[:600_000] + b"!" + whole[600_000:]
    first, second = add(store, whole, edited)
    collect(store, first)
    assert store.read(second) == edited
    assert list(store.verify()) == []


def test_bytes_that_are_an_object_and_a_chunk_stay_as_a_chunk(store: ContentStore) -> None:
    """A small object and a chunk of a large one may be the same bytes, stored once, as the small object."""
    large = noise(900_000)
    piece = bytes(next(chunking.Chunker().cut(io.BytesIO(large))).chunks[0])
    (small,) = add(store, piece)
    (whole,) = add(store, large)
    collect(store, small)
    assert store.read(whole) == large
    assert list(store.verify()) == []
    collect(store, whole, small)
    assert store.missing([whole, small]) == {whole, small}


def test_what_is_young_stays(store: ContentStore, bucket: Bucket) -> None:
    (digest,) = add(store, b"young")
    youngest = max(each.modified for each in bucket.dated("packs/"))
    plan, gone = collect(store, digest, older_than=youngest)
    assert (gone, plan.young) == (set(), {bytes.fromhex(digest): 5})
    assert store.read(digest) == b"young"


def test_a_pack_with_little_that_is_dead_is_left(store: ContentStore) -> None:
    dead, alive = add(store, noise(10_000), noise(200_000, 1))
    plan, gone = collect(store, dead, worth=0.25)
    assert (gone, plan.left) == (set(), 10_000)
    assert store.read(alive) == noise(200_000, 1)


def test_nothing_goes_while_a_writer_is_at_work(store: ContentStore) -> None:
    (digest,) = add(store, noise(900_000))
    collection = store.collection()
    plan = collection.plan(unneeded(digest), older_than=LATER)
    with store.writer() as writer:
        again = writer.add(noise(900_000)[:800_000] + b"end")  # relies on chunks that nobody needs otherwise
        with pytest.raises(Busy), store.removing():
            pass
    with store.removing():
        list(collection.remove(plan.removals, plan.sizes, older_than=LATER))
    assert store.read(again.digest) == noise(900_000)[:800_000] + b"end"
    assert list(store.verify()) == []


def test_chunks_of_an_interrupted_file_are_not_stored_again(store: ContentStore) -> None:
    content = noise(60_000_000)
    with pytest.raises(RuntimeError, match="pulled the plug"), store.writer() as writer:
        writer.add(content)
        raise RuntimeError("pulled the plug")
    assert list(store.digests()) == []
    with store.writer() as writer:
        again = writer.add(content)
    assert again.new_bytes < 15_000_000
    assert store.read(again.digest) == content


def test_chunks_that_belong_to_nothing_are_freed(store: ContentStore, bucket: Bucket) -> None:
    with pytest.raises(RuntimeError, match="pulled the plug"), store.writer() as writer:
        writer.add(noise(60_000_000))
        raise RuntimeError("pulled the plug")
    assert sum(size for _, size in bucket.list("packs/")) > 45_000_000
    collect(store)
    assert list(bucket.list("packs/")) == []


def test_what_became_needed_after_the_plan_stays(store: ContentStore) -> None:
    first, second = add(store, noise(900_000), noise(600_000, 1))
    collection = store.collection()
    plan = collection.plan(unneeded(first, second), older_than=LATER)
    dead = {bytes.fromhex(second): 600_000}  # the first is held by now
    with store.removing():
        assert list(collection.remove(plan.removals, dead, older_than=LATER)) == []
    assert store.read(first) == noise(900_000)


def test_damage_stops_a_collection(store: ContentStore, bucket: Bucket, tmp_path: Path) -> None:
    if not isinstance(bucket, LocalBucket):
        pytest.skip("a file on S3 is not changed in place")
    digest, _ = add(store, noise(900_000), noise(600_000, 1))
    (pack,) = (bucket.root / "packs").iterdir()
    data = pack.read_bytes()
    at = data.index(b"EVLRCP")
    pack.write_bytes(data[:at] + b"XXXXXX" + data[at + 6 :])
    with pytest.raises(Corrupted, match="nothing is freed"):
        collect(store, digest)
    pack.write_bytes(data[:-5])
    fresh = ContentStore(bucket, tmp_path / "another.sqlite")
    with pytest.raises(Corrupted, match="nothing is freed"):
        collect(fresh, digest)
    fresh.close()


def test_a_rewritten_pack_is_as_old_as_it_was(tmp_path: Path) -> None:
    bucket = LocalBucket(tmp_path / "store")
    store = ContentStore(bucket, tmp_path / "index.sqlite")
    dead, _ = add(store, noise(200_000), b"alive")
    (pack,) = (bucket.root / "packs").iterdir()
    os.utime(pack, (1_000, 1_000))
    collect(store, dead)
    assert [each.modified for each in bucket.dated("packs/")] == [1_000]
    store.close()


def test_relying_on_an_object_makes_it_young(tmp_path: Path) -> None:
    bucket = LocalBucket(tmp_path / "store")
    store = ContentStore(bucket, tmp_path / "index.sqlite")
    packed, chunked = add(store, b"packed", noise(900_000))
    loose = store.put(b"loose").digest
    files = [*(bucket.root / "packs").iterdir(), bucket.root / f"loose/{loose[:2]}/{loose[2:]}"]
    for content, digest in ((b"packed", packed), (b"loose", loose), (noise(900_000), chunked)):
        for file in files:
            os.utime(file, (1_000, 1_000))
        store.put(content)
        plan, gone = collect(store, digest, older_than=2_000)
        assert (gone, len(plan.young)) == (set(), 1), content[:9]
    store.close()


def test_what_is_relied_on_after_the_plan_stays(tmp_path: Path) -> None:
    bucket = LocalBucket(tmp_path / "store")
    store = ContentStore(bucket, tmp_path / "index.sqlite")
    digest = store.put(b"again").digest
    os.utime(bucket.root / f"loose/{digest[:2]}/{digest[2:]}", (1_000, 1_000))
    collection = store.collection()
    plan = collection.plan(unneeded(digest), older_than=2_000)
    store.put(b"again")
    with store.removing():
        assert list(collection.remove(plan.removals, plan.sizes, older_than=2_000)) == []
    assert store.read(digest) == b"again"
    store.close()


# On S3, where there are no locks


@pytest.fixture
def s3(s3_server: S3Server, s3_address: str, tmp_path: Path) -> S3Bucket:
    prefix = urlsplit(s3_address).path.strip("/")
    return S3Bucket(BUCKET, prefix=prefix, endpoint=s3_server.endpoint, staging=tmp_path / "staging")


def test_a_writer_that_begins_during_a_removal_relies_on_nothing(s3: S3Bucket, tmp_path: Path) -> None:
    store = ContentStore(s3, tmp_path / "index.sqlite")
    content = noise(900_000)
    (first,) = add(store, content)
    collection = store.collection()
    plan = collection.plan(unneeded(first), older_than=LATER)
    with store.removing():
        elsewhere = ContentStore(s3, tmp_path / "elsewhere.sqlite")
        stored = add(elsewhere, content)  # the same content: its pack must be another file
        list(collection.remove(plan.removals, plan.sizes, older_than=LATER))
    assert elsewhere.read(stored[0]) == content
    assert list(elsewhere.verify()) == []
    elsewhere.close()
    store.close()


def test_a_marker_of_a_dead_process_is_taken_away_and_its_owner_told(
    s3: S3Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ContentStore(s3, tmp_path / "index.sqlite")
    monkeypatch.setattr("everloop.store.objects.guards.STALE_AFTER", -STALE_AFTER)  # everybody counts as dead
    with pytest.raises(Conflict, match="was collected while"), store.writer() as writer:
        writer.add(b"slow")
        with store.removing():
            pass
    assert [key for key, _ in s3.list("guards/")] == []
    store.close()


def test_a_collector_that_was_killed_hinders_nobody(s3: S3Bucket, tmp_path: Path) -> None:
    store = ContentStore(s3, tmp_path / "index.sqlite")
    (digest,) = add(store, b"before")
    s3.put("guards/collecting", b"")  # what a killed one leaves
    assert store.read(add(store, b"after")[0]) == b"after"
    with store.removing():
        pass
    collect(store, digest)
    assert store.missing([digest]) == {digest}
    store.close()


# Any order of writing, needing and collecting

contents = st.one_of(
    st.sampled_from([b"", b"a", b"b"]),
    st.builds(
        lambda at, size: noise(1_200_000)[at : at + size], st.integers(0, 300_000), st.integers(1, 700_000)
    ),
    st.builds(lambda at: noise(600_000)[:at] + b"edit" + noise(600_000)[at:], st.integers(0, 600_000)),
)


class Collecting(RuleBasedStateMachine):
    """Two processes on one bucket: what is needed can always be read, and the rest goes when all is collected."""

    objects = Bundle("objects")

    @initialize()
    def open(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        bucket = LocalBucket(self.folder / "store")
        self.stores = [ContentStore(bucket, self.folder / f"{name}.sqlite") for name in "ab"]
        self.needed: dict[str, bytes] = {}
        self.plans: list[tuple[object, Plan]] = []

    @rule(target=objects, batch=st.lists(contents, min_size=1, max_size=3), where=st.integers(0, 1))
    def write(self, batch: list[bytes], where: int) -> str:
        digests = add(self.stores[where], *batch)
        self.needed |= dict(zip(digests, batch, strict=True))
        return digests[0]

    @rule(target=objects, content=contents, where=st.integers(0, 1))
    def put(self, content: bytes, where: int) -> str:
        digest = self.stores[where].put(content).digest
        self.needed[digest] = content
        return digest

    @rule(digest=consumes(objects))
    def need_no_more(self, digest: str) -> None:
        self.needed.pop(digest, None)

    @rule(where=st.integers(0, 1), worth=st.sampled_from([0.0, 0.25]))
    def plan(self, where: int, worth: float) -> None:
        store = self.stores[where]
        collection = store.collection()
        dead = [digest for digest in store.digests() if digest not in self.needed]
        self.plans.append((collection, collection.plan(unneeded(*dead), older_than=LATER, worth=worth)))

    @rule(where=st.integers(0, 1), only_write_anew=st.booleans())
    def carry_out(self, where: int, only_write_anew: bool) -> None:
        """Long after it was planned: others may have written, and another collection may have been here."""
        if not self.plans:
            return
        collection, plan = self.plans.pop(0)
        for each in plan.removals:
            if each.rewritten:
                collection.rewrite(each, plan.sizes)  # type: ignore[attr-defined]
        if only_write_anew:  # killed in between
            return
        dead = {digest: size for digest, size in plan.sizes.items() if digest.hex() not in self.needed}
        with self.stores[where].removing():
            list(collection.remove(plan.removals, dead, older_than=LATER))  # type: ignore[attr-defined]

    @rule(where=st.integers(0, 1))
    def collect_everything(self, where: int) -> None:
        store = self.stores[where]
        collect(store, *(digest for digest in store.digests() if digest not in self.needed))
        for left in set(store.digests()) - self.needed.keys():  # only as pieces of what is needed
            assert any(store.read(left) in content for content in self.needed.values())

    @invariant()
    def all_that_is_needed_is_there(self) -> None:
        for store in getattr(self, "stores", []):
            for digest, content in self.needed.items():
                assert store.read(digest) == content

    def teardown(self) -> None:
        if hasattr(self, "stores"):
            assert list(self.stores[0].verify()) == []
            for store in self.stores:
                store.close()
            shutil.rmtree(self.folder)


TestCollecting = Collecting.TestCase
TestCollecting.settings = settings(
    max_examples=15, stateful_step_count=15, suppress_health_check=[HealthCheck.too_slow], deadline=None
)
