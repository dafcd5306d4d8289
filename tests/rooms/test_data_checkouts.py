"""Versions as files in a folder: whole, and never over someone's changes."""

import os
import time
from pathlib import Path

import pytest

from everloop.data.incoming.folders import Found, Look
from everloop.data.incoming.stat_index import Known, Seen
from everloop.errors import Conflict, InvalidInput, NotFound, StorageError
from everloop.workspace.local import LocalWorkspace


@pytest.fixture
def folder(workspace: LocalWorkspace, tmp_path: Path) -> Path:
    """Two versions of a folder; it is left as the second."""
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "a.txt").write_text("a")
    (source / "sub" / "b.bin").write_bytes(os.urandom(400_000))
    workspace.data.add(source, "d")
    (source / "a.txt").write_text("changed")
    (source / "c.txt").write_text("c")
    workspace.data.add(source, "d")
    return source


def content(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def test_a_checkout_is_the_version(workspace: LocalWorkspace, folder: Path, tmp_path: Path) -> None:
    done = workspace.data.checkout("d", tmp_path / "deep" / "out")
    assert (done.reference, done.files) == ("data:d@v2", 3)
    assert content(tmp_path / "deep" / "out") == content(folder)
    assert workspace.data.status(tmp_path / "deep" / "out").clean


def test_a_folder_that_was_added_has_a_status(workspace: LocalWorkspace, folder: Path) -> None:
    assert workspace.data.status(folder).clean
    (folder / "a.txt").write_text("CHANGED")  # the same size, perhaps within one tick of the clock
    (folder / "c.txt").unlink()
    (folder / "new.txt").touch()
    (folder / "link").symlink_to("a.txt")
    status = workspace.data.status(folder)
    assert (status.reference, status.clean) == ("data:d@v2", False)
    assert (status.added, status.changed, status.removed) == (["link", "new.txt"], ["a.txt"], ["c.txt"])


def test_another_version_takes_the_place_of_a_clean_one(
    workspace: LocalWorkspace, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    workspace.data.checkout("d@v2", out)
    workspace.data.checkout("d@v1", out)
    assert set(content(out)) == {"a.txt", "sub/b.bin"}
    assert workspace.data.status(out).reference == "data:d@v1"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "project", "source"], (
        "nothing is left beside it"
    )


def test_a_folder_that_holds_the_version_already_is_left_as_it_is(
    workspace: LocalWorkspace, folder: Path, tmp_path: Path
) -> None:
    workspace.data.add(folder, "twin")  # the same files under another name
    out = tmp_path / "out"
    for way in ("hardlink", "copy"):
        workspace.data.checkout("d", out, link=way)
        before = out.stat().st_ino, (out / "a.txt").stat()
        assert workspace.data.checkout("twin", out, link=way).link.value == way
        assert (out.stat().st_ino, (out / "a.txt").stat()) == before
        assert workspace.data.status(out).reference == "data:twin@v1"
    workspace.data.checkout("d", out, only="*.txt")
    assert set(content(out)) == {"a.txt", "c.txt"}
    assert workspace.data.status(out).only == ["*.txt"]
    (out / "a.txt").write_text("mine")
    with pytest.raises(Conflict, match="local changes"):
        workspace.data.checkout("d", out)
    workspace.data.checkout("d", out, force=True)
    assert content(out) == content(folder)
    (out / "sub" / "b.bin").chmod(0o755)
    with pytest.raises(Conflict, match=r"local changes: sub/b.bin"):
        workspace.data.checkout("d", out)


def test_local_changes_are_kept_unless_forced(
    workspace: LocalWorkspace, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    workspace.data.checkout("d@v1", out)
    (out / "a.txt").write_text("mine")
    with pytest.raises(Conflict, match=r"local changes: a\.txt"):
        workspace.data.checkout("d@v2", out)
    assert (out / "a.txt").read_text() == "mine"
    workspace.data.checkout("d@v2", out, force=True)
    assert content(out) == content(folder)


def test_a_folder_of_someone_else_is_left_alone(
    workspace: LocalWorkspace, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    workspace.data.checkout("d", out)  # an empty folder is nobody's
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("years")
    with pytest.raises(Conflict, match="is not empty"):
        workspace.data.checkout("d", other)
    assert content(other) == {"thesis.txt": b"years"}
    with pytest.raises(InvalidInput, match="is a file"):
        workspace.data.checkout("d", other / "thesis.txt")
    with pytest.raises(NotFound, match="neither checked out nor added"):
        workspace.data.status(other)


@pytest.fixture
def photos(workspace: LocalWorkspace, tmp_path: Path) -> Path:
    source = tmp_path / "photos"
    for name in ("train/cats/1.png", "train/dogs/1.png", "train/dogs/big.png", "test/1.png", "labels.csv"):
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(600_000 if "big" in name else 3_000) if "png" in name else b"a,b\n")
    workspace.data.add(source, "photos")
    return source


def inodes(folder: Path) -> dict[str, int]:
    return {
        path.relative_to(folder).as_posix(): path.stat().st_ino
        for path in folder.rglob("*")
        if path.is_file()
    }


class TestParts:
    def test_only_what_is_named(self, workspace: LocalWorkspace, photos: Path, tmp_path: Path) -> None:
        out = tmp_path / "out"
        done = workspace.data.checkout("photos", out, only=["train/dogs/*", "*.csv"])
        assert (done.files, done.only) == (3, ["train/dogs/*", "*.csv"])
        assert set(content(out)) == {"train/dogs/1.png", "train/dogs/big.png", "labels.csv"}
        assert workspace.data.status(out).clean, "what was not asked for is not missed"
        workspace.data.checkout("photos", out, only=["**/1.png"])
        assert set(content(out)) == {"train/cats/1.png", "train/dogs/1.png", "test/1.png"}
        workspace.data.checkout("photos", out)
        assert content(out) == content(photos)

    def test_nothing_is_named(self, workspace: LocalWorkspace, photos: Path, tmp_path: Path) -> None:
        with pytest.raises(NotFound, match="no file is named by 'valid/"):
            workspace.data.checkout("photos", tmp_path / "out", only=["valid/*"])
        with pytest.raises(InvalidInput, match="no pattern"):
            workspace.data.checkout("photos", tmp_path / "out", only=["../*"])
        assert not (tmp_path / "out").exists()


class TestLinks:
    def test_hard_links_are_read_only_and_share_their_bytes(
        self, workspace: LocalWorkspace, photos: Path, tmp_path: Path
    ) -> None:
        done = workspace.data.checkout("photos", tmp_path / "one", link="hardlink")
        assert done.link == "hardlink"
        assert content(tmp_path / "one") == content(photos)
        assert (tmp_path / "one" / "labels.csv").stat().st_mode & 0o222 == 0
        workspace.data.checkout("photos", tmp_path / "two", link="hardlink")
        assert inodes(tmp_path / "one") == inodes(tmp_path / "two")
        assert workspace.data.status(tmp_path / "one").clean

    def test_writing_into_one_does_not_reach_the_next_checkout(
        self, workspace: LocalWorkspace, photos: Path, tmp_path: Path
    ) -> None:
        out = tmp_path / "out"
        workspace.data.checkout("photos", out, link="hardlink")
        (out / "labels.csv").chmod(0o644)
        with (out / "labels.csv").open("r+b") as file:  # as root may, and as many an editor does
            file.write(b"x")
        assert workspace.data.status(out).changed == ["labels.csv"]
        workspace.data.checkout("photos", tmp_path / "next", link="hardlink")
        assert content(tmp_path / "next") == content(photos)
        assert workspace.data.dataset("photos").open("labels.csv").read() == b"a,b\n"
        assert (out / "labels.csv").read_bytes() == b"x,b\n", "it is still the user's"

    def test_copies_may_be_written_to(self, workspace: LocalWorkspace, photos: Path, tmp_path: Path) -> None:
        workspace.data.checkout("photos", tmp_path / "links", link="hardlink")
        done = workspace.data.checkout("photos", tmp_path / "links", link="copy")
        assert done.link == "copy"
        (tmp_path / "links" / "labels.csv").write_bytes(b"mine")
        workspace.data.checkout("photos", tmp_path / "other", link="copy")
        assert content(tmp_path / "other") == content(photos)

    def test_the_default_is_one_that_works_and_can_be_written_to(
        self, workspace: LocalWorkspace, photos: Path, tmp_path: Path
    ) -> None:
        done = workspace.data.checkout("photos", tmp_path / "out")
        assert done.link in {"reflink", "copy"}
        assert (tmp_path / "out" / "labels.csv").stat().st_mode & 0o200

    def test_a_way_that_does_not_work_here_is_said(
        self, workspace: LocalWorkspace, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from everloop.data.checkouts import linking

        def cannot(source: str, target: str) -> None:
            raise OSError(95, "not supported")

        monkeypatch.setattr(linking, "clone", cannot)
        with pytest.raises(InvalidInput, match="cannot share the blocks"):
            workspace.data.checkout("photos", tmp_path / "out", link="reflink")
        with pytest.raises(InvalidInput, match="no way to link"):
            workspace.data.checkout("photos", tmp_path / "out", link="symlink")
        assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []

    def test_clones_where_the_file_system_has_them(
        self, workspace: LocalWorkspace, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import shutil

        from everloop.data.checkouts import linking

        def clone(
            source: str, target: str
        ) -> None:  # stands for FICLONE, which this machine's disk may not know
            assert not os.path.lexists(target)
            shutil.copyfile(source, target)

        monkeypatch.setattr(linking, "clone", clone)
        assert workspace.data.checkout("photos", tmp_path / "out").link == "reflink"
        assert content(tmp_path / "out") == content(photos)
        assert (tmp_path / "out" / "labels.csv").stat().st_mode & 0o200


def a_tick() -> None:
    """Let the file system's clock move on, which it does every few milliseconds: files are older then than the next look."""
    time.sleep(0.02)


class TestKnowing:
    """What a folder holds is known without reading it again, and never wrongly."""

    @pytest.fixture
    def reads(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        from everloop.data.checkouts import checking_out as checkouts
        from everloop.data.incoming import adding

        names: list[str] = []
        read, digest = adding.read_small, checkouts.digest_of
        monkeypatch.setattr(adding, "read_small", lambda file: (names.append(file.path), read(file))[1])
        monkeypatch.setattr(checkouts, "digest_of", lambda file: (names.append(file.path), digest(file))[1])
        return names

    def test_nothing_is_read_again(
        self, workspace: LocalWorkspace, photos: Path, tmp_path: Path, reads: list[str]
    ) -> None:
        age(photos)
        a_tick()
        assert workspace.data.add(photos, "photos").unchanged, (
            "once, for the files were as young as the look at them"
        )
        reads.clear()
        assert workspace.data.add(photos, "photos").unchanged
        assert workspace.data.status(photos).clean
        workspace.data.checkout("photos", tmp_path / "out")
        assert reads == []
        time.sleep(
            0.02
        )  # the file system's clock ticks every few milliseconds: the files may be as young as the look at them
        assert workspace.data.status(tmp_path / "out").clean
        reads.clear()
        assert workspace.data.status(tmp_path / "out").clean
        assert reads == []
        (photos / "labels.csv").write_bytes(b"b,a\n")
        assert workspace.data.add(photos, "photos").reference == "data:photos@v2"
        assert reads == ["labels.csv"]

    @pytest.mark.parametrize(
        ("look", "shared", "trusted"),
        [
            (Look(5, 99, 99, 1), False, True),
            (Look(6, 99, 99, 1), False, False),
            (Look(5, 98, 99, 1), False, False),
            (Look(5, 99, 98, 1), False, False),
            (Look(5, 99, 99, 2), False, False),
            (Look(5, 99, 98, 1), True, True),  # another hard link was made or removed
            (Look(5, 98, 99, 1), True, False),
        ],
    )
    def test_a_file_is_known_by_its_look(self, look: Look, shared: bool, trusted: bool) -> None:
        known = Known("data:d@v1", 100, {"a": Seen("digest", 5, 99, 99, 1)}, shared=shared)
        assert known.digests([Found("a", "/d/a", look)]) == ({"a": "digest"} if trusted else {})

    @pytest.mark.parametrize("look", [Look(5, 100, 99, 1), Look(5, 99, 100, 1), Look(5, 101, 101, 1)])
    def test_one_as_young_as_the_look_at_it_is_not(self, look: Look) -> None:
        """Two writes in one tick of the clock leave the same size and times: the second must be seen all the same."""
        known = Known("data:d@v1", 100, {"a": Seen("digest", *look)})
        assert known.digests([Found("a", "/d/a", look)]) == {}

    def test_a_change_that_keeps_size_and_time_is_seen(self, workspace: LocalWorkspace, photos: Path) -> None:
        age(photos)
        workspace.data.add(photos, "photos")
        path = photos / "labels.csv"
        before = path.stat()
        path.write_bytes(b"b,c\n")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert workspace.data.status(photos).changed == ["labels.csv"]
        assert workspace.data.add(photos, "photos").version == 2

    def test_one_large_file_is_not_read_again(
        self, workspace: LocalWorkspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "big.bin").write_bytes(os.urandom(1_000_000))
        age(tmp_path / "big.bin")
        workspace.data.add(tmp_path / "big.bin", "big")
        monkeypatch.setattr(type(workspace.objects), "writer", None)
        assert workspace.data.add(tmp_path / "big.bin", "big").unchanged

    def test_from_one_version_to_the_next_only_what_differs_is_written(
        self, workspace: LocalWorkspace, photos: Path, tmp_path: Path
    ) -> None:
        (photos / "labels.csv").write_bytes(b"c,d\n")
        workspace.data.add(photos, "photos")
        out = tmp_path / "out"
        workspace.data.checkout("photos@v1", out)
        before = inodes(out)
        workspace.data.checkout("photos@v2", out)
        after = inodes(out)
        assert content(out) == content(photos)
        assert {path for path in before if before[path] != after[path]} == {"labels.csv"}
        assert workspace.data.status(out).clean

    def test_a_workspace_that_cannot_be_written_still_answers(
        self, workspace: LocalWorkspace, photos: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "access", lambda path, mode: False)
        assert workspace.data.status(photos).clean


def age(place: Path) -> None:
    """Make files look a minute old, as most files are that are added: their content was not written in this tick."""
    for path in [place, *place.rglob("*")]:
        if path.is_file():
            then = path.stat().st_mtime_ns - 60 * 10**9
            os.utime(path, ns=(then, then))


class TestFaults:
    def test_no_room(
        self, workspace: LocalWorkspace, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        out = tmp_path / "out"
        workspace.data.checkout("photos", out, only=["labels.csv"])

        def full(handle: int, data: object) -> int:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "write", full)
        with pytest.raises(StorageError, match="out cannot be written: No space left on device"):
            workspace.data.checkout("photos", out)
        monkeypatch.undo()
        assert set(content(out)) == {"labels.csv"}
        assert workspace.data.status(out).clean
        assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "photos", "project"]

    def test_what_a_killed_process_left_is_cleared(
        self, workspace: LocalWorkspace, photos: Path, tmp_path: Path
    ) -> None:
        out = tmp_path / "out"
        (tmp_path / ".out.0123.new" / "half").mkdir(parents=True)
        (tmp_path / ".out.0123.before").mkdir()
        (tmp_path / ".out.0123.before" / "thesis.txt").write_text("years")
        with pytest.raises(Conflict, match="is not empty"):
            workspace.data.checkout("photos", out)
        assert content(out) == {"thesis.txt": b"years"}, "it has its place again"
        workspace.data.checkout("photos", out, force=True)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "photos", "project"]

    def test_without_a_change_of_places_in_one_step(
        self, workspace: LocalWorkspace, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from everloop.data.checkouts import linking

        monkeypatch.setattr(linking, "exchange", lambda first, second: False)
        out = tmp_path / "out"
        workspace.data.checkout("photos", out, only=["test"])
        workspace.data.checkout("photos", out)
        assert content(out) == content(photos)
        assert workspace.data.status(out).clean

    def test_names_of_all_scripts(self, workspace: LocalWorkspace, tmp_path: Path) -> None:
        source = tmp_path / "source"
        for name in (
            "über/straße.txt",
            "日本/データ.bin",
            "emoji 🦆.txt",
            "e\u0301 decomposed",
            "-rf",
            "a'b\"c",
        ):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_text(name)
        workspace.data.add(source, "names")
        workspace.data.checkout("names", tmp_path / "out")
        assert content(tmp_path / "out") == content(source)
        assert workspace.data.status(tmp_path / "out").clean

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
    def test_a_file_that_may_not_be_read(self, workspace: LocalWorkspace, photos: Path) -> None:
        (photos / "labels.csv").chmod(0)
        with pytest.raises(InvalidInput, match=r"labels\.csv cannot be read"):
            workspace.data.add(photos, "photos")
