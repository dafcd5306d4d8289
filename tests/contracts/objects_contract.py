"""What `everloop.store.objects.Objects` promises, as tests; each store is a subclass that says how to open it."""

import contextlib
import hashlib
import io
import random
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from everloop.errors import Corrupted, InvalidInput, NotFound, StorageError
from everloop.store.objects import Bucket, ContentStore, Fault, Objects, packs, recipes
from everloop.store.objects.writing import SMALL

ABSENT = "0" * 64


def noise(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Dribble(io.RawIOBase):
    """A stream that hands out a few bytes at a time, as a socket does, and may break."""

    def __init__(self, data: bytes, breaks_at: int | None = None) -> None:
        self._data = io.BytesIO(data)
        self._breaks_at = breaks_at

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if self._breaks_at is not None and self._data.tell() >= self._breaks_at:
            raise ConnectionResetError("the other side went away")
        return self._data.readinto(memoryview(buffer)[:7000])


class ObjectsContract:
    """Holds for every store. A subclass provides the fixture `objects`: an empty store."""

    @pytest.mark.parametrize("size", [0, 1, 5000, SMALL - 1, SMALL, SMALL + 1, 1_500_000])
    def test_what_is_put_is_read_back(self, objects: Objects, size: int) -> None:
        data = noise(size)
        stored = objects.put(data)
        assert (stored.digest, stored.size, stored.new_bytes) == (sha256(data), size, size)
        assert objects.read(stored.digest) == data
        with objects.open(stored.digest) as stream:
            assert stream.read() == data
        assert objects.stat(stored.digest).size == size
        assert objects.put(data).new_bytes == 0
        assert list(objects.digests()) == [stored.digest]
        assert list(objects.verify()) == []

    @pytest.mark.parametrize("size", [100, 600_000])
    def test_a_source_may_be_a_file_or_a_stream(self, objects: Objects, tmp_path: Path, size: int) -> None:
        data = noise(size)
        file = tmp_path / "source.bin"
        file.write_bytes(data)
        assert objects.put(file).digest == sha256(data)
        dribble = Dribble(data)
        assert objects.put(dribble).digest == sha256(data)  # type: ignore[arg-type]
        assert not dribble.closed
        stream = io.BytesIO(data)
        stream.seek(10)
        with objects.writer() as writer:
            stored = writer.add(stream)
        assert objects.read(stored.digest) == data[10:]
        assert not stream.closed

    def test_a_source_that_cannot_be_read_is_said(self, objects: Objects, tmp_path: Path) -> None:
        with pytest.raises(NotFound, match=r"no file .*gone\.csv"):
            objects.put(tmp_path / "gone.csv")
        with pytest.raises(InvalidInput, match="is a folder"):
            objects.put(tmp_path)

    def test_an_opened_object_seeks_like_a_file(self, objects: Objects) -> None:
        data = noise(3_000_000)
        digest = objects.put(data).digest
        reference = io.BytesIO(data)
        choose = random.Random(1)
        with objects.open(digest) as stream:
            assert stream.seekable()
            assert stream.readable()
            for _ in range(60):
                position = choose.choice([0, len(data), len(data) + 5, choose.randrange(len(data))])
                assert stream.seek(position) == reference.seek(position)
                length = choose.choice([0, 1, 17, 100_000, 700_000])
                assert stream.read(length) == reference.read(length)
                assert stream.tell() == reference.tell()
            assert stream.seek(-10, io.SEEK_END) == len(data) - 10
            assert stream.read() == data[-10:]
            with pytest.raises(ValueError, match="seek"):
                stream.seek(-1)

    def test_what_is_not_there_is_not_found(self, objects: Objects) -> None:
        for _ in range(2):  # in a store that nothing was ever put into, and in another
            for act in (objects.read, objects.open, objects.stat):
                with pytest.raises(NotFound, match=ABSENT):
                    act(ABSENT)
            assert objects.missing([ABSENT]) == {ABSENT}
            objects.put(b"something")

    @pytest.mark.parametrize("digest", ["", "abc", "g" * 64, "A" * 64, "../../../etc/passwd", "ab" * 33])
    def test_what_is_no_digest_is_refused(self, objects: Objects, digest: str) -> None:
        for act in (objects.read, objects.open, objects.stat):
            with pytest.raises(InvalidInput, match="not the digest"):
                act(digest)
        with pytest.raises(InvalidInput, match="not the digest"):
            objects.missing([digest])

    def test_a_writers_objects_become_visible_together(self, objects: Objects) -> None:
        contents = [b"", b"a", noise(100_000, 1), noise(900_000, 2), noise(SMALL, 3)]
        with objects.writer() as writer:
            stored = [writer.add(content) for content in contents]
            assert objects.missing(map(sha256, contents)) == set(map(sha256, contents))
            again = [writer.add(content) for content in contents]
        assert [each.new_bytes for each in stored] == [len(content) for content in contents]
        assert [each.new_bytes for each in again] == [0] * len(contents)
        assert {each.digest for each in again} == set(objects.digests()) == set(map(sha256, contents))
        assert [objects.read(each.digest) for each in stored] == contents
        with objects.writer() as writer:
            assert [writer.add(content).new_bytes for content in contents] == [0] * len(contents)
        assert list(objects.verify()) == []

    def test_a_writer_that_adds_nothing_changes_nothing(self, objects: Objects) -> None:
        with objects.writer():
            pass
        assert list(objects.digests()) == []

    def test_a_block_that_raises_leaves_nothing(self, objects: Objects) -> None:
        with pytest.raises(ZeroDivisionError), objects.writer() as writer:
            writer.add(b"small")
            writer.add(noise(1_000_000))
            raise ZeroDivisionError
        assert list(objects.digests()) == []
        assert objects.put(noise(1_000_000)).new_bytes == 1_000_000
        assert list(objects.verify()) == []

    @pytest.mark.parametrize("breaks_at", [0, 50_000, 700_000])
    def test_a_source_that_breaks_leaves_nothing(self, objects: Objects, breaks_at: int) -> None:
        with pytest.raises(ConnectionResetError):
            objects.put(Dribble(noise(1_000_000), breaks_at))  # type: ignore[arg-type]
        assert list(objects.digests()) == []
        assert list(objects.verify()) == []

    def test_a_changed_large_object_stores_what_changed(self, objects: Objects) -> None:
        data = noise(4_000_000)
        objects.put(data)
        appended = objects.put(data + noise(50_000, 1))
        inserted = objects.put(data[:1_000_000] + b"one more row\n" + data[1_000_000:])
        assert appended.new_bytes <= 50_000 + SMALL
        assert inserted.new_bytes <= 2 * SMALL
        assert objects.read(appended.digest) == data + noise(50_000, 1)

    def test_a_chunk_of_an_object_is_not_an_object(self, objects: Objects) -> None:
        zeros = bytes(SMALL)  # what a run of zeros is cut into
        objects.put(zeros * 3)
        assert objects.missing([sha256(zeros)]) == {sha256(zeros)}
        with objects.writer() as writer:
            writer.add(zeros)
        assert objects.read(sha256(zeros)) == zeros
        assert set(objects.digests()) == {sha256(zeros), sha256(zeros * 3)}

    def test_an_object_becomes_a_chunk_of_a_larger_one(self, objects: Objects) -> None:
        zeros = bytes(SMALL)
        objects.put(zeros)
        assert objects.put(zeros * 3).new_bytes == 0
        assert objects.read(sha256(zeros * 3)) == zeros * 3
        assert list(objects.verify()) == []

    def test_missing_tells_which(self, objects: Objects) -> None:
        here = [objects.put(b"one").digest, objects.put(noise(500_000)).digest]
        assert objects.missing([*here, ABSENT, sha256(b"two")]) == {ABSENT, sha256(b"two")}
        assert objects.missing([]) == set()

    def test_threads_put_and_read_at_once(self, objects: Objects) -> None:
        errors: list[BaseException] = []
        shared = noise(800_000, 99)

        def work(number: int) -> None:
            try:
                mine = noise(3000, number)
                digest = objects.put(mine).digest
                with objects.writer() as writer:
                    writer.add(shared)
                    writer.add(noise(2000, 100 + number))
                assert objects.read(digest) == mine
                assert objects.read(sha256(shared)) == shared
            except BaseException as error:
                errors.append(error)
                raise

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        assert len(list(objects.digests())) == 9
        assert list(objects.verify()) == []


def contents_of(bucket: Bucket) -> dict[str, bytes]:
    """Every file of a store by its key."""
    keys = [("format", bucket.size("format") or 0), *bucket.list("loose/"), *bucket.list("packs/")]
    return {key: bucket.get(key, 0, size) or b"" for key, size in keys}


def replace(bucket: Bucket, key: str, data: bytes) -> None:
    bucket.delete(key)
    assert bucket.put(key, data)


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


class ContentStoreContract(ObjectsContract):
    """Holds for `ContentStore` on every bucket. A subclass provides the fixture `bucket`: an empty one."""

    @pytest.fixture
    def objects(self, bucket: Bucket, tmp_path: Path) -> Iterator[ContentStore]:
        store = ContentStore(bucket, tmp_path / "index" / "index.sqlite")
        yield store
        store.close()

    @pytest.fixture
    def elsewhere(self, bucket: Bucket, tmp_path: Path) -> Iterator[ContentStore]:
        """The same store from another machine: it shares the bucket and no index."""
        store = ContentStore(bucket, tmp_path / "elsewhere" / "index.sqlite")
        yield store
        store.close()

    @pytest.fixture
    def filled(self, objects: ContentStore) -> dict[str, bytes]:
        """A store with a loose object, small ones in a pack and a large one; returns all by digest."""
        contents = [b"loose", noise(3000, 1), noise(4000, 2), noise(700_000, 3)]
        objects.put(contents[0])
        with objects.writer() as writer:
            for content in contents[1:]:
                writer.add(content)
        return {sha256(content): content for content in contents}

    def test_the_files_of_a_bucket(self, bucket: Bucket) -> None:
        assert bucket.get("loose/aa/x", 0, 10) is None
        assert bucket.size("loose/aa/x") is None
        assert list(bucket.list("loose/")) == []
        assert bucket.put("loose/aa/x", b"0123456789")
        assert not bucket.put("loose/aa/x", b"something else")
        assert bucket.get("loose/aa/x", 2, 3) == b"234"
        assert bucket.get("loose/aa/x", 8, 10) == b"89"
        assert bucket.get("loose/aa/x", 10, 5) == b""
        assert bucket.get("loose/aa/x", 50, 5) == b""
        assert bucket.get("loose/aa/x", 0, 0) == b""
        assert bucket.get("loose/bb/x", 0, 0) is None
        assert bucket.put("loose/bb/empty", b"")
        assert bucket.get("loose/bb/empty", 0, 0) == b""
        assert sorted(bucket.list("loose/")) == [("loose/aa/x", 10), ("loose/bb/empty", 0)]
        bucket.delete("loose/aa/x")
        bucket.delete("loose/aa/x")
        assert bucket.size("loose/aa/x") is None

    def test_every_flipped_byte_is_found_and_named(
        self, bucket: Bucket, objects: ContentStore, filled: dict[str, bytes]
    ) -> None:
        files = contents_of(bucket)
        assert len(files) == 3, "format, a loose file, a pack"
        for key, data in files.items():
            interesting = {0, 8, 11, 12, len(data) // 2} | {len(data) - back for back in (1, 20, 44, 45)}
            footer = {len(data) - 44 - offset for offset in (1, 8, 17, 40, 49, 100)}
            for at in sorted(place for place in interesting | footer if 0 <= place < len(data)):
                replace(bucket, key, flipped(data, at))
                faults = list(objects.verify())
                assert faults, f"byte {at} of {key}"
                file, _, offset = faults[0].place.partition("@")
                assert (file, int(offset or 0) <= at) == (key, True), f"byte {at}: {faults[0]}"
                for fault in faults:
                    assert fault.digest is None or len(fault.digest) == 64
            replace(bucket, key, data)
        assert list(objects.verify()) == []

    def test_a_damaged_object_is_never_handed_out(
        self, bucket: Bucket, objects: ContentStore, elsewhere: ContentStore, filled: dict[str, bytes]
    ) -> None:
        for key, data in contents_of(bucket).items():
            for at in range(0, len(data), max(1, len(data) // 40)) if key != "format" else ():
                replace(bucket, key, flipped(data, at))
                for store in (objects, elsewhere):
                    for digest, content in filled.items():
                        try:
                            assert store.read(digest) == content
                        except Corrupted as error:
                            assert key.partition("/")[0] in error.message  # noqa: PT017 (either is right)
                replace(bucket, key, data)

    def test_reading_a_damaged_object_names_it_and_its_place(
        self, bucket: Bucket, objects: ContentStore, filled: dict[str, bytes]
    ) -> None:
        for key, data in contents_of(bucket).items():
            for digest, content in filled.items():
                # A piece of the content, wherever it lies: in a large object's first chunk, too.
                at = data.find(content[:1000])
                if at < 0:
                    continue
                replace(bucket, key, flipped(data, at))
                with pytest.raises(Corrupted, match=rf"{digest}.*{key}"):
                    objects.read(digest)
                with pytest.raises(Corrupted, match=digest), objects.open(digest) as stream:
                    stream.read(10)
                named = [fault for fault in objects.verify() if fault.digest == digest]
                assert named, "the fault names the object that is hurt"
                others = {other: objects.read(other) for other in filled if other != digest}
                assert others == {other: filled[other] for other in others}
                replace(bucket, key, data)
        assert {digest: objects.read(digest) for digest in filled} == filled

    def test_the_undamaged_part_of_a_large_object_can_be_read(
        self, bucket: Bucket, objects: ContentStore, filled: dict[str, bytes]
    ) -> None:
        content = max(filled.values(), key=len)
        (key, data) = next((key, data) for key, data in contents_of(bucket).items() if "pack" in key)
        replace(bucket, key, flipped(data, data.find(content[-1000:])))
        with objects.open(sha256(content)) as stream:
            assert stream.read(10_000) == content[:10_000]
            stream.seek(-1000, io.SEEK_END)
            with pytest.raises(Corrupted, match=sha256(content)):
                stream.read()

    @pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: b"", lambda data: data + b"x"])
    def test_a_file_of_another_length_is_named(
        self, bucket: Bucket, objects: ContentStore, filled: dict[str, bytes], change: object
    ) -> None:
        assert callable(change)
        for key, data in contents_of(bucket).items():
            replace(bucket, key, change(data))
            assert key in {fault.place.partition("@")[0] for fault in objects.verify()}
            replace(bucket, key, data)

    def test_files_of_strangers_are_named(
        self, bucket: Bucket, objects: ContentStore, filled: dict[str, bytes]
    ) -> None:
        bucket.put("packs/notes.txt", b"hello")
        bucket.put("loose/zz/other", b"hello")
        assert {fault.place for fault in objects.verify()} == {"packs/notes.txt", "loose/zz/other"}
        assert objects.missing(filled) == set()

    def test_a_chunk_that_is_lost_is_named_with_its_object(
        self, bucket: Bucket, objects: ContentStore
    ) -> None:
        zeros = bytes(SMALL)
        objects.put(zeros)  # loose, and the only chunk of the next
        digest = objects.put(zeros * 3).digest
        bucket.delete(next(key for key, _ in bucket.list("loose/")))
        (fault,) = objects.verify()
        assert fault.digest == digest
        assert sha256(zeros) in fault.message
        with pytest.raises(Corrupted, match=digest):
            objects.read(digest)
        assert objects.put(zeros * 3).new_bytes == SMALL, "putting it again brings back what is lost"
        assert objects.read(digest) == zeros * 3

    def test_two_machines_see_each_others_objects(
        self, objects: ContentStore, elsewhere: ContentStore
    ) -> None:
        large = noise(900_000, 5)
        first, second = objects.put(b"loose"), objects.put(large)
        assert elsewhere.read(second.digest) == large
        assert elsewhere.read(first.digest) == b"loose"
        with elsewhere.writer() as writer:
            assert writer.add(large).new_bytes == 0
            assert writer.add(b"loose").new_bytes == 0
            third = writer.add(b"from elsewhere")
        assert objects.stat(third.digest).size == 14
        assert elsewhere.put(large + b"more").new_bytes <= SMALL
        assert set(objects.digests()) == set(elsewhere.digests())
        assert objects.missing([third.digest]) == set()

    def test_a_writer_knows_what_another_machine_stored(
        self, elsewhere: ContentStore, filled: dict[str, bytes]
    ) -> None:
        with elsewhere.writer() as writer:
            assert [writer.add(content).new_bytes for content in filled.values()] == [0] * len(filled)

    @pytest.mark.parametrize("how", ["put", "writer"])
    @pytest.mark.parametrize("index_harm", ["", "update entry set pack = 99 where pack > 0"])
    def test_what_is_lost_can_be_stored_again(
        self,
        bucket: Bucket,
        objects: ContentStore,
        filled: dict[str, bytes],
        tmp_path: Path,
        how: str,
        index_harm: str,
    ) -> None:
        """The index still names all of it; nothing has asked the bucket since it was lost."""
        if index_harm:
            with contextlib.closing(sqlite3.connect(tmp_path / "index" / "index.sqlite")) as index, index:
                index.execute(index_harm)
        for key in contents_of(bucket):
            bucket.delete(key)
        if how == "put":
            stored = [objects.put(content) for content in filled.values()]
        else:
            with objects.writer() as writer:
                stored = [writer.add(content) for content in filled.values()]
        assert [each.new_bytes for each in stored] == [len(content) for content in filled.values()]
        assert {digest: objects.read(digest) for digest in filled} == filled

    def test_a_recipe_for_something_else_is_not_believed(
        self, bucket: Bucket, objects: ContentStore, tmp_path: Path
    ) -> None:
        """Every checksum is right, but the chunks do not make the object: a mistake of a writer, or of a forger."""
        pieces = [noise(1000, 1), noise(1000, 2)]
        payload = recipes.encode([recipes.Chunk(bytes.fromhex(sha256(piece)), 1000) for piece in pieces])
        file = packs.PackFile(tmp_path / "forged")
        for piece in pieces:
            file.append(packs.Kind.CHUNK, bytes.fromhex(sha256(piece)), piece, 1000)
        file.append(packs.Kind.RECIPE, bytes.fromhex(ABSENT), payload, 2000)
        name, entries = file.seal()
        objects.put(b"something else")
        bucket.put_file(f"packs/{name}.pack", tmp_path / "forged")
        with pytest.raises(Corrupted, match=ABSENT):
            objects.read(ABSENT)
        place = f"packs/{name}.pack@{entries[-1].offset}"
        message = "the chunks that the recipe names do not make the object"
        assert list(objects.verify()) == [Fault(place, ABSENT, message)]

    @pytest.mark.parametrize("harm", ["deleted", "garbage", "cut"])
    def test_the_index_is_a_cache(
        self, bucket: Bucket, objects: ContentStore, filled: dict[str, bytes], tmp_path: Path, harm: str
    ) -> None:
        objects.close()
        for file in (tmp_path / "index").glob("index.sqlite*"):
            if harm == "deleted":
                file.unlink()
            elif harm == "garbage":
                file.write_bytes(b"SQLite format 3\x00" + noise(5000))
            else:
                file.write_bytes(file.read_bytes()[:5000])
        again = ContentStore(bucket, tmp_path / "index" / "index.sqlite")
        assert {digest: again.read(digest) for digest in filled} == filled
        assert set(again.digests()) == set(filled)
        with again.writer() as writer:
            assert all(writer.add(content).new_bytes == 0 for content in filled.values())
        assert list(again.verify()) == []
        again.close()

    @pytest.mark.parametrize(
        "change",
        [
            "update entry set offset = offset + 1 where pack > 0",
            "update entry set length = length - 1 where pack > 0",
            "update entry set pack = 99 where pack > 0",
        ],
    )
    def test_a_wrong_index_is_not_believed(
        self, objects: ContentStore, filled: dict[str, bytes], tmp_path: Path, change: str
    ) -> None:
        with contextlib.closing(sqlite3.connect(tmp_path / "index" / "index.sqlite")) as index, index:
            index.execute(change)
        if "99" in change:  # rows that name no pack: what they say is lost until the packs are read again
            assert list(objects.verify()) == []
        assert {digest: objects.read(digest) for digest in filled} == filled
        assert list(objects.verify()) == []

    def test_an_index_of_another_store_is_no_harm(
        self, bucket: Bucket, objects: ContentStore, filled: dict[str, bytes]
    ) -> None:
        for key in contents_of(bucket):
            bucket.delete(key)
        assert objects.missing(filled) == set(filled)
        with pytest.raises(NotFound):
            objects.stat(next(iter(filled)))
        for content in filled.values():
            assert objects.put(content).new_bytes == len(content)
        assert {digest: objects.read(digest) for digest in filled} == filled

    def test_a_file_that_is_gone_is_not_taken_for_present(
        self, bucket: Bucket, objects: ContentStore, filled: dict[str, bytes]
    ) -> None:
        """Each question alone, on an index that still names the files."""
        for key, data in contents_of(bucket).items():
            for digest, content in filled.items():
                bucket.delete(key)
                here = any(content[:1000] in data for data in contents_of(bucket).values())
                if not here:
                    with pytest.raises(NotFound):
                        objects.stat(digest)
                    assert objects.missing([digest]) == {digest}
                assert bucket.put(key, data)
                assert objects.read(digest) == content

    def test_a_pack_that_cannot_be_opened_is_not_silence(
        self, bucket: Bucket, objects: ContentStore, elsewhere: ContentStore, filled: dict[str, bytes]
    ) -> None:
        (key, data) = next((key, data) for key, data in contents_of(bucket).items() if "pack" in key)
        replace(bucket, key, flipped(data, len(data) - 60))
        packed = sha256(noise(3000, 1))
        # One that knew the pack reads on; one that did not says that it cannot know.
        assert objects.read(packed) == noise(3000, 1)
        with pytest.raises(Corrupted, match=rf"{packed}.*{key}"):
            elsewhere.read(packed)
        assert elsewhere.read(sha256(b"loose")) == b"loose"
        assert elsewhere.put(noise(3000, 1)).new_bytes == 3000
        assert elsewhere.read(packed) == noise(3000, 1)

    def test_a_newer_format_is_refused(self, bucket: Bucket, objects: ContentStore) -> None:
        bucket.put("format", b"everloop objects 2\n")
        for act in (
            lambda: objects.put(b"x"),
            lambda: objects.read(ABSENT),
            lambda: objects.missing([ABSENT]),
        ):
            with pytest.raises(StorageError, match=r"has format 2; this version .* knows format 1"):
                act()
        assert list(objects.verify()) == [
            Fault("format", None, "the file does not name the format that this version of Everloop writes")
        ]
