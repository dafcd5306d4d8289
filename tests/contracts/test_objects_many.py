"""Many small objects at once: the same promises as one by one, for less."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.contracts.objects_contract import noise, sha256

from everloop.errors import Corrupted, NotFound
from everloop.store.objects import ContentStore, open_objects, packs
from everloop.store.objects.writing import SMALL


@pytest.fixture
def objects(tmp_path: Path) -> ContentStore:
    return open_objects(tmp_path / "store")


CONTENTS = [noise(size, seed) for seed, size in enumerate((0, 1, 3_000, 3_001, SMALL, SMALL + 1, 900_000))]


def test_they_are_stored_as_one_by_one(objects: ContentStore) -> None:
    with objects.writer() as writer:
        stored = writer.add_many([*CONTENTS, CONTENTS[2]])
    assert [each.digest for each in stored] == [sha256(data) for data in [*CONTENTS, CONTENTS[2]]]
    assert [each.new_bytes for each in stored] == [*map(len, CONTENTS), 0]
    with objects.writer() as writer:
        assert {each.new_bytes for each in writer.add_many(CONTENTS)} == {0}
    assert [objects.read(sha256(data)) for data in CONTENTS] == CONTENTS
    assert list(objects.verify()) == []


def test_they_are_read_each_once(objects: ContentStore) -> None:
    with objects.writer() as writer:
        writer.add_many(CONTENTS)
    alone = objects.put(b"alone")
    asked = [sha256(data) for data in CONTENTS]
    found = list(objects.read_many([*asked, alone.digest, *asked]))
    assert len(found) == len(asked) + 1
    assert dict(found) == dict(zip([*asked, alone.digest], [*CONTENTS, b"alone"], strict=True))
    with pytest.raises(NotFound):
        list(objects.read_many([asked[0], "0" * 64]))


def test_a_damaged_one_is_named_and_a_second_copy_serves(objects: ContentStore, tmp_path: Path) -> None:
    small = [noise(5_000, seed) for seed in range(20)]
    with objects.writer() as writer:
        writer.add_many(small)
    (pack,) = (tmp_path / "store" / "packs").iterdir()
    data = bytearray(pack.read_bytes())
    data[len(packs.HEADER) + 7 * 5_000 + 3] ^= 1
    pack.write_bytes(data)
    with pytest.raises(Corrupted, match=sha256(small[7])):
        list(objects.read_many(map(sha256, small)))
    whole = [sha256(each) for number, each in enumerate(small) if number != 7]
    assert len(list(objects.read_many(whole))) == 19
    other = tmp_path / "store" / "loose" / sha256(small[7])[:2] / sha256(small[7])[2:]
    other.parent.mkdir(parents=True)
    other.write_bytes(small[7])
    objects.missing([])  # which looks at what is there
    assert dict(objects.read_many(map(sha256, small)))[sha256(small[7])] == small[7]


def test_what_is_here_can_be_relied_on_without_its_content(objects: ContentStore, tmp_path: Path) -> None:
    large, small = noise(900_000), noise(500)
    with objects.writer() as writer:
        assert writer.present([sha256(large)]) == set()
        writer.add_many([large, small])
    for pack in (tmp_path / "store" / "packs").iterdir():
        os.utime(pack, (1_000_000, 1_000_000))
    with objects.writer() as writer:
        assert writer.present([sha256(large), sha256(small), "0" * 64]) == {sha256(large), sha256(small)}
    ages = [pack.stat().st_mtime for pack in (tmp_path / "store" / "packs").iterdir()]
    assert min(ages) > 1_000_000, "a collection takes what was relied on for needed"
