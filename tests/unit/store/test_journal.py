"""The journal: what was appended is read back; a torn or damaged file loses nothing before the damage."""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everloop.errors import Conflict, Corrupted, NotFound, StorageError, TooLarge
from everloop.store.journal import HEADER, LARGEST_RECORD, JournalWriter, Recovery, read_journal, recover

payloads = st.lists(
    st.binary(max_size=60) | st.sampled_from([b"", b"\x00" * 8, HEADER, b"x" * 3000]), max_size=8
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.journal"


def write(path: Path, records: list[bytes]) -> list[int]:
    path.unlink(missing_ok=True)
    with JournalWriter(path) as journal:
        return [journal.append(record) for record in records]


def read(path: Path, offset: int = 0) -> list[bytes]:
    return [payload for _, payload in read_journal(path, offset)]


@given(records=payloads, later=payloads)
def test_what_is_appended_is_read_back_across_openings(
    tmp_path_factory: pytest.TempPathFactory, records: list[bytes], later: list[bytes]
) -> None:
    path = tmp_path_factory.getbasetemp() / "round-trip.journal"
    ends = write(path, records)
    with JournalWriter(path) as journal:
        assert journal.recovery == Recovery(len(records), ends[-1] if ends else len(HEADER), 0, "")
        assert journal.append_many(later) == path.stat().st_size
        journal.sync()
    assert list(read_journal(path))[: len(records)] == list(zip(ends, records, strict=True))
    assert read(path) == records + later


@given(records=payloads, data=st.data())
def test_any_cut_keeps_every_whole_record_before_it(
    tmp_path_factory: pytest.TempPathFactory, records: list[bytes], data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "cut.journal"
    ends = write(path, records)
    size = data.draw(st.integers(0, path.stat().st_size))
    os.truncate(path, size)
    whole = [record for end, record in zip(ends, records, strict=True) if end <= size]
    assert read(path) == whole

    found = recover(path)
    assert found.records == len(whole)
    assert found.kept_bytes + found.cut_bytes == size
    assert bool(found.reason) == bool(found.cut_bytes)
    assert path.stat().st_size == found.kept_bytes
    with JournalWriter(path) as journal:
        journal.append(b"goes on")
    assert read(path) == [*whole, b"goes on"]


@given(records=st.lists(st.binary(max_size=60), min_size=1, max_size=6), data=st.data())
def test_one_flipped_bit_loses_nothing_before_it_and_is_never_read_as_a_record(
    tmp_path_factory: pytest.TempPathFactory, records: list[bytes], data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "flipped.journal"
    ends = write(path, records)
    at = data.draw(st.integers(len(HEADER), ends[-1] - 1))
    flip(path, at, 1 << data.draw(st.integers(0, 7)))
    before = [record for end, record in zip(ends, records, strict=True) if end <= at]

    found, error = read_to_the_end(path)
    assert found == before
    if at < ([0, *ends])[-2]:
        assert error is not None, "damage in front of whole records must be named"
        assert f"byte {([len(HEADER), *ends])[len(before)]}" in error.message
    assert recover(path).records == len(before)


def read_to_the_end(path: Path) -> tuple[list[bytes], Corrupted | None]:
    found: list[bytes] = []
    try:
        for _, payload in read_journal(path):
            found.append(payload)
    except Corrupted as error:
        return found, error
    return found, None


def flip(path: Path, at: int, mask: int = 1) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ mask]))


def test_reading_goes_on_from_an_end(path: Path) -> None:
    first, second, _ = write(path, [b"one", b"two", b"three"])
    assert read(path, first) == [b"two", b"three"]
    assert read(path, second) == [b"three"]


def test_a_journal_can_be_read_while_it_is_written(path: Path) -> None:
    with JournalWriter(path) as journal:
        end = journal.append(b"one")
        assert read(path) == [b"one"]
        journal.append(b"two")
        assert read(path, end) == [b"two"]


@pytest.mark.parametrize("damage", ["payload", "length"])
def test_damage_in_front_of_whole_records_is_named_and_nothing_is_cut(path: Path, damage: str) -> None:
    first, second, _ = write(path, [b"one", b"two", b"three"])
    size = path.stat().st_size
    flip(path, second - 1 if damage == "payload" else first + 2)

    found = recover(path)
    assert (found.records, found.kept_bytes, found.cut_bytes, found.damaged_at) == (1, first, 0, first)
    assert path.stat().st_size == size
    with pytest.raises(Corrupted, match=f"damaged at byte {first}"):
        JournalWriter(path)
    found_records, error = read_to_the_end(path)
    assert found_records == [b"one"]
    assert error is not None
    assert f"damaged at byte {first}" in error.message


def test_a_torn_record_that_holds_another_journal_is_still_a_torn_tail(path: Path, tmp_path: Path) -> None:
    write(tmp_path / "inner", [b"inner one", b"inner two"])
    inner = (tmp_path / "inner").read_bytes()
    (end, _) = write(path, [b"one", inner + b"more"])
    os.truncate(path, path.stat().st_size - 2)
    assert recover(path).kept_bytes == end
    assert read(path) == [b"one"]


def test_zeros_that_a_power_cut_left_at_the_end_are_not_records(path: Path) -> None:
    write(path, [b"one"])
    with path.open("ab") as file:
        file.write(bytes(4096))
    assert read(path) == [b"one"]
    assert recover(path).cut_bytes == 4096


def test_a_second_writer_is_refused_until_the_first_is_gone(path: Path) -> None:
    with JournalWriter(path) as journal:
        journal.append(b"one")
        with pytest.raises(Conflict, match="being written"):
            JournalWriter(path)
        with pytest.raises(Conflict, match="being written"):
            recover(path)
    with JournalWriter(path) as journal:
        assert journal.recovery.records == 1


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (b"something else entirely", Corrupted, "is not a journal"),
        (HEADER[:8] + b"\x02\x00\x00\x00", StorageError, "has format 2"),
    ],
)
def test_a_file_that_is_no_journal_of_this_version_is_left_alone(
    path: Path, content: bytes, error: type[StorageError], message: str
) -> None:
    path.write_bytes(content)
    for act in (recover, JournalWriter, read):
        with pytest.raises(error, match=message):
            act(path)
    assert path.read_bytes() == content


def test_a_missing_file_is_not_found(path: Path) -> None:
    for act in (recover, read):
        with pytest.raises(NotFound):
            act(path)
    assert not path.exists()


def test_a_record_that_is_too_large_is_refused(path: Path) -> None:
    with JournalWriter(path) as journal:
        with pytest.raises(TooLarge):
            journal.append(bytes(LARGEST_RECORD + 1))
        journal.append(b"small")
    assert read(path) == [b"small"]


def test_a_full_disk_leaves_no_part_of_a_record(path: Path) -> None:
    with JournalWriter(path) as journal:
        journal.append(b"before")
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 20, limits[1]))
        try:
            with pytest.raises(StorageError, match="the disk is full"):
                journal.append(b"x" * 100)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, handler)
        journal.append(b"after")
    assert read(path) == [b"before", b"after"]


_WRITER = """
import sys
from pathlib import Path
from everloop.store.journal import JournalWriter
journal = JournalWriter(Path(sys.argv[1]))
for number in range(10**9):
    journal.append(b"record %d" % number)
    print(number, flush=True)
"""


def test_kill_9_loses_no_acknowledged_record(path: Path) -> None:
    acknowledged = -1
    for _ in range(3):
        path.unlink(missing_ok=True)
        writer = subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        with writer.stdout:
            for line in writer.stdout:
                if int(line) == 500:
                    writer.send_signal(signal.SIGKILL)
                if line.endswith("\n"):
                    acknowledged = int(line)
        assert writer.wait() == -signal.SIGKILL
        assert acknowledged >= 500
        with JournalWriter(path) as journal:
            assert journal.recovery.records > acknowledged
        assert read(path)[: acknowledged + 1] == [b"record %d" % number for number in range(acknowledged + 1)]
