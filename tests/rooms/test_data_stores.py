"""Stores of data: what gc frees and what it never touches, push and pull, fsck and healing."""

import json
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import sqlalchemy as sa
from tests.support.servers import KillableServer
from tests.support.workspaces import FakeClock, served

import everloop as ev
from everloop.cli.main import main
from everloop.client.batches import CUT, CUT_CHUNK, CUT_HEAD, FRAME
from everloop.client.remote import RemoteWorkspace
from everloop.data.stores.shelf_collecting import collect_shelf
from everloop.data.stores.shelves import Shelf
from everloop.domain.datasets import FileEntry, Manifest, NewVersion
from everloop.domain.retention import Collected, Retention
from everloop.errors import Conflict, Corrupted, EverloopError, InvalidInput, NotFound, Unavailable
from everloop.server.objects import ObjectEndpoints
from everloop.store.objects import ContentStore, open_objects
from everloop.store.schema.base import objects_freed, objects_held
from everloop.store.schema.tracking import runs
from everloop.workspace.local import LocalWorkspace
from everloop.workspace.workspace import Workspace


def collect(workspace: Workspace, **options: Any) -> Collected:
    """A thorough collection without a grace."""
    return workspace.data.collect(**{"grace": 0.0, "thorough": True, **options})


def folder_of(tmp_path: Path, name: str, **files: bytes) -> Path:
    folder = tmp_path / name
    folder.mkdir(exist_ok=True)
    for path, content in files.items():
        (folder / path).write_bytes(content)
    return folder


def sound(workspace: LocalWorkspace) -> bool:
    report = workspace.governance.verify()
    return report.ok and workspace.data.examine(level="full").ok


@pytest.fixture
def other(tmp_path: Path, clock: FakeClock) -> Iterator[LocalWorkspace]:
    with LocalWorkspace(tmp_path / "other", clock=clock) as made:
        yield made


class Traffic:
    """What goes between this process and servers: bytes of bodies, and requests."""

    def __init__(self) -> None:
        self.sent = self.received = self.requests = 0

    def of(self, work: Callable[[], Any]) -> None:
        """Count anew, for this work."""
        self.__init__()  # type: ignore[misc]
        work()


@pytest.fixture
def traffic(monkeypatch: pytest.MonkeyPatch) -> Traffic:
    counted = Traffic()
    handle = httpx.HTTPTransport.handle_request

    class Counted(httpx.SyncByteStream):
        def __init__(self, stream: Any, name: str) -> None:
            self.stream, self.name = stream, name

        def __iter__(self) -> Iterator[bytes]:
            for piece in self.stream:
                setattr(counted, self.name, getattr(counted, self.name) + len(piece))
                yield piece

        def close(self) -> None:
            if hasattr(self.stream, "close"):
                self.stream.close()

    def counting(self: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
        counted.requests += 1
        request.stream = Counted(request.stream, "sent")
        answer = handle(self, request)
        answer.stream = Counted(answer.stream, "received")
        return answer

    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", counting)
    return counted


class TestGc:
    def test_a_removed_version_frees_its_bytes_and_stays_in_the_audit(
        self, workspace: LocalWorkspace, tmp_path: Path
    ) -> None:
        content = os.urandom(2_000_000)
        first = workspace.data.add(folder_of(tmp_path, "f", a=content, b=b"kept"), "photos")
        workspace.data.add(folder_of(tmp_path, "f", a=b"small now"), "photos")
        workspace.data.remove("photos@v1")
        promised = collect(workspace, dry_run=True)
        assert workspace.data.examine(level="full").ok
        before = size_of(workspace)
        done = collect(workspace)
        assert (done.freed, done.bytes) == (promised.freed, promised.bytes)
        assert done.freed.objects == 2  # the file, and the list of files
        assert 2_000_000 < before - size_of(workspace) < 2_020_000
        assert workspace.objects.missing([first.digest]) == {first.digest}
        assert sound(workspace)
        with pytest.raises(NotFound, match="photos@v1 was removed on "):
            workspace.data.remove("photos@v1", force=True)
        said = [event.action for event in workspace.ledger.events(subject="data:photos@v1")]
        assert said == ["data.added", "data.removed"]
        again = workspace.data.add(folder_of(tmp_path, "f", a=content), "photos")
        assert (again.reference, sound(workspace)) == ("data:photos@v3", True)

    def test_what_is_young_stays_for_an_hour(self, workspace: LocalWorkspace, tmp_path: Path) -> None:
        workspace.data.add(folder_of(tmp_path, "f", a=b"one"), "photos")
        workspace.data.remove("photos")
        done = workspace.data.collect()
        assert (done.freed.objects, done.young.objects) == (0, 2)
        for path in workspace.folder.rglob("*.pack"):
            os.utime(path, (time.time() - 3_700,) * 2)
        assert workspace.data.collect().freed.objects == 2

    def test_what_goes_leaves_the_cache_of_files_too(self, workspace: LocalWorkspace, tmp_path: Path) -> None:
        secret = os.urandom(300_000)
        workspace.data.add(folder_of(tmp_path, "f", a=secret), "photos")
        workspace.data.add(folder_of(tmp_path, "g", b=b"kept"), "others")
        for name in ("photos", "others"):
            workspace.data.checkout(name, tmp_path / f"out {name}", link="hardlink")
        workspace.data.remove("photos")
        assert workspace.data.gc(grace=0.0, thorough=True).freed.objects == 2
        kept = [path.read_bytes() for path in workspace.folder.rglob("*") if path.is_file()]
        assert not any(secret[1_000:2_000] in content for content in kept)
        assert b"kept" in kept

    def test_a_dry_run_changes_nothing(self, workspace: LocalWorkspace, tmp_path: Path) -> None:
        for number in range(3):
            workspace.data.add(folder_of(tmp_path, "f", a=os.urandom(300_000)), "photos", f"{number}")
        before, head = size_of(workspace), workspace.ledger.head()
        done = collect(workspace, dry_run=True, retention=Retention(keep_last=1))
        assert done.versions == ["data:photos@v1", "data:photos@v2"]
        assert (size_of(workspace), workspace.ledger.head()) == (before, head)
        real = collect(workspace, retention=Retention(keep_last=1))
        assert (real.versions, real.freed, real.bytes) == (done.versions, done.freed, done.bytes)
        assert [each.version for each in workspace.data.log("photos")] == [3]

    def test_purged_runs_free_their_artifacts(self, workspace: LocalWorkspace, tmp_path: Path) -> None:
        with workspace.tracking.start(name="gone") as run:
            run.log_text("x" * 5_000, "notes.txt")
        with workspace.tracking.start(name="stays") as stays:
            stays.log_text("y" * 5_000, "notes.txt")
        (gone,) = workspace.tracking.artifacts(run.run_id)
        assert collect(workspace).freed.objects == 0
        workspace.tracking.delete_runs([run.run_id])
        workspace.tracking.purge_runs([run.run_id])
        collect(workspace)
        assert workspace.objects.missing([gone.digest]) == {gone.digest}
        assert stays.run_id
        assert sound(workspace)
        with workspace.tracking.start(
            name="after"
        ) as after:  # the same code and environment are captured once more
            after.log_text("x" * 5_000, "notes.txt")
        assert sound(workspace)

    def test_a_process_that_believes_its_code_is_stored_stores_it_again(
        self, workspace: LocalWorkspace
    ) -> None:
        with workspace.tracking.start() as run:
            pass
        workspace.tracking.delete_runs([run.run_id])
        workspace.tracking.purge_runs([run.run_id])
        assert collect(workspace).freed.objects >= 1
        with workspace.tracking.start():
            pass
        assert sound(workspace)

    def test_steps_of_a_purged_pipeline_run_are_executed_again(
        self, workspace: LocalWorkspace, tmp_path: Path
    ) -> None:
        """Their results went with the run: a cache that still named them would hand out what is not there."""

        @ev.step
        def numbers() -> Any:
            return np.arange(100_000)

        @ev.pipeline
        def count() -> Any:
            return numbers()

        first = workspace.pipelines.run(count, executor="inline")
        collect(workspace)  # what was captured beside the project's code
        assert workspace.pipelines.run(count, executor="inline").steps[0].status == "cached"
        assert sound(workspace)
        held = len(list(workspace.objects.digests()))
        with workspace.ledger.read() as look:
            whole = [row.id for row in look.all(sa.select(runs.c.id))]
        workspace.tracking.delete_runs(whole)
        workspace.tracking.purge_runs(whole)
        assert collect(workspace).freed.objects >= held
        assert len(list(workspace.objects.digests())) == 0
        again = workspace.pipelines.run(count, executor="inline")
        assert (first.status, again.status, again.steps[0].status) == ("finished", "finished", "executed")
        assert again.value().sum() == 4_999_950_000
        assert sound(workspace)

    def test_retention_keeps_pinned_versions_and_those_in_use(
        self, workspace: LocalWorkspace, tmp_path: Path, clock: FakeClock
    ) -> None:
        for number in range(5):
            workspace.data.add(folder_of(tmp_path, "f", a=b"%d" % number), "photos")
            clock.advance(days=1)
        workspace.data.pin("photos@v1", "the paper")
        with workspace.tracking.start() as run:
            run.use("data:photos@v2")
        done = collect(workspace, retention=Retention(keep_last=1))
        assert done.versions == ["data:photos@v3", "data:photos@v4"]
        assert (done.pinned, done.in_use) == (["data:photos@v1"], ["data:photos@v2"])
        assert [pin.reason for pin in workspace.data.pins()] == ["the paper"]
        with pytest.raises(Conflict, match="photos@v1 is pinned: the paper"):
            workspace.data.remove("photos@v1")
        assert workspace.data.unpin("photos@v1") is True
        assert workspace.data.unpin("photos@v1") is False
        assert collect(workspace, retention=Retention(keep_last=1)).versions == ["data:photos@v1"]
        assert sound(workspace)

    def test_retention_by_age_and_name(
        self, workspace: LocalWorkspace, tmp_path: Path, clock: FakeClock
    ) -> None:
        for number in range(3):
            for name in ("a", "b"):
                workspace.data.add(folder_of(tmp_path, "f", a=b"%d" % number), name)
            clock.advance(days=10)
        wanted = Retention(younger_than=timedelta(days=15), names=["a"])
        assert collect(workspace, retention=wanted).versions == ["data:a@v1", "data:a@v2"]
        with pytest.raises(NotFound, match="no dataset is called 'c'"):
            collect(workspace, retention=Retention(keep_last=1, names=["c"]))

    def test_what_the_ledger_mentions_stays_though_nothing_holds_it(
        self, workspace: LocalWorkspace, tmp_path: Path
    ) -> None:
        """Should a room forget to hold what it needs, that is no reason to lose it."""
        with workspace.tracking.start() as run:
            run.log_text("x" * 1_000, "notes.txt")
        (artifact,) = workspace.tracking.artifacts(run.run_id)
        with workspace.ledger.transaction("test") as tx:
            tx.execute(sa.delete(objects_held).where(objects_held.c.digest == artifact.digest))
            tx.event("test.forgot", f"run:{run.run_id}")
        done = collect(workspace)
        assert (done.freed.objects, done.mentioned.objects) == (0, 1)
        assert len(workspace.objects.read(artifact.digest)) == 1_000

    def test_versions_on_a_shelf_in_the_same_store_stay(
        self, workspace: LocalWorkspace, other: LocalWorkspace, tmp_path: Path
    ) -> None:
        other.data.add(folder_of(tmp_path, "f", a=os.urandom(400_000)), "photos")
        assert isinstance(workspace.objects, ContentStore)
        shelf = Shelf(workspace.objects)
        other.data.push("photos", shelf)
        assert collect(workspace).freed.objects == 0
        assert workspace.data.pull("photos", shelf).added == ["data:photos@v1"]
        assert sound(workspace)

    def test_a_store_of_two_ledgers_is_left_alone(self, tmp_path: Path, clock: FakeClock) -> None:
        with ExitStack() as stack:
            both = []
            for name in ("one", "two"):
                folder_of(
                    tmp_path, name, **{"everloop.toml": b'objects = "%s"\n' % bytes(tmp_path / "shared")}
                )
                both.append(stack.enter_context(LocalWorkspace(tmp_path / name, clock=clock)))
            both[0].data.add(folder_of(tmp_path, "f", a=b"1"), "photos")
            assert collect(both[0]).freed.objects == 0
            both[1].data.add(folder_of(tmp_path, "f", a=b"2"), "photos")
            for each in both:
                with pytest.raises(Conflict, match="keeps its objects in this store too"):
                    collect(each)


class TestNoRace:
    """Bytes are stored before the ledger says who needs them: between the two, a collection may come."""

    def test_an_object_freed_between_put_and_hold_is_refused_not_lost(
        self, workspace: LocalWorkspace, tmp_path: Path
    ) -> None:
        version = stored_version(workspace, b"content")
        assert collect(workspace).freed.objects == 2
        # What would hold it now, however it was stored, is told.
        with (
            pytest.raises(Conflict, match="was freed after it was stored"),
            workspace.ledger.transaction("t") as tx,
        ):
            tx.hold(version.digest, 1, "run:x")
        with pytest.raises((Conflict, InvalidInput, NotFound)):
            workspace.data.record([version])
        again = stored_version(workspace, b"content")
        assert workspace.data.record([again])[0].reference == "data:raced@v1"
        with workspace.ledger.read() as look:
            assert look.all(sa.select(objects_freed)) == []
        assert sound(workspace)

    def test_an_object_that_is_held_while_it_is_being_freed_stays(
        self, workspace: LocalWorkspace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The collection has noted what goes; before it removes anything, somebody holds it."""
        version = stored_version(workspace, b"content")
        before = type(workspace.data)._remove

        def held_first(self: Any, *arguments: Any) -> Any:
            if workspace.data.newest("raced") is None:
                workspace.data.record([version])
            return before(self, *arguments)

        monkeypatch.setattr(type(workspace.data), "_remove", held_first)
        assert collect(workspace).freed.objects == 0
        assert workspace.data.dataset("raced").open("file").read() == b"content"
        assert sound(workspace)

    def test_a_writer_at_work_makes_it_wait_and_then_say_so(self, workspace: LocalWorkspace) -> None:
        stored_version(workspace, os.urandom(400_000))
        with workspace.objects.writer() as writer:
            writer.add(b"slow")
            with pytest.raises(Unavailable, match="writers are at work"):
                collect(workspace, patience=0.0)
        assert collect(workspace).freed.objects == 3

    @pytest.fixture(params=["sqlite and a folder", "postgres and s3"])
    def project(self, request: pytest.FixtureRequest, tmp_path: Path) -> Path:
        profile = ""
        if request.param != "sqlite and a folder":
            ledger, objects = (request.getfixturevalue(name) for name in ("ledger_url", "s3_address"))
            profile = f'ledger = "{ledger}"\nobjects = "{objects}"\n'
        return folder_of(tmp_path, "shared project", **{"everloop.toml": profile.encode()})

    def test_adders_and_collectors_at_once(self, project: Path, tmp_path: Path) -> None:
        """The content of all versions is the same few files, so that everybody relies on what others are about to free."""
        contents = [os.urandom(size) for size in (10, 1_000, 400_000, 700_000)]
        with LocalWorkspace(project) as first:
            first.data.add(folder_of(tmp_path, "first", a=contents[0]), "first")
        adding = threading.Event()
        troubles: list[EverloopError] = []
        finished: list[Callable[..., None]] = []

        def adder(name: str) -> None:
            with LocalWorkspace(project) as mine:
                for turn in range(5):
                    parts = {
                        f"f{n}": each for n, each in enumerate(contents) if n % 2 == turn % 2 or n == turn % 4
                    }
                    folder = folder_of(tmp_path, f"{name}-{turn}", **parts)
                    reference = persistently(lambda folder=folder: mine.data.add(folder, name)).reference
                    if turn % 2:
                        mine.data.remove(reference)

        def collector() -> None:
            with LocalWorkspace(project) as mine:
                while not adding.is_set():
                    collect(mine)

        def watched(work: Callable[..., None], *arguments: str) -> None:
            try:
                work(*arguments)
            except EverloopError as error:
                troubles.append(error)
            else:
                finished.append(work)

        adders = [threading.Thread(target=watched, args=(adder, name)) for name in ("a", "b")]
        collectors = [threading.Thread(target=watched, args=(collector,)) for _ in range(2)]
        for each in (*adders, *collectors):
            each.start()
        for each in adders:
            each.join()
        adding.set()
        for each in collectors:
            each.join()
        assert (troubles, len(finished)) == ([], 4)
        with LocalWorkspace(project) as last:
            assert sound(last)
            collect(last)
            assert sound(last)


class TestShelves:
    """A store without a ledger: its notes say what is needed."""

    @pytest.fixture(params=["folder", "s3"])
    def shelf(self, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shelf]:
        at = tmp_path / "shelf" if request.param == "folder" else request.getfixturevalue("s3_address")
        store = open_objects(at, **({} if request.param == "folder" else {"cache": tmp_path / "cache"}))
        yield Shelf(store)
        store.close()

    def test_versions_go_and_what_the_others_need_stays(
        self, workspace: LocalWorkspace, other: LocalWorkspace, tmp_path: Path, clock: FakeClock, shelf: Shelf
    ) -> None:
        shared, own = os.urandom(600_000), os.urandom(700_000)
        workspace.data.add(folder_of(tmp_path, "f", shared=shared, large=own, small=b"1"), "photos")
        workspace.data.add(folder_of(tmp_path, "g", shared=shared, small=b"2"), "photos")
        workspace.data.push("photos", shelf)
        freely = {"now": clock(), "grace": 0.0, "thorough": True}
        assert collect_shelf(shelf, **freely).freed.objects == 0
        rule = Retention(keep_last=1)
        promised = collect_shelf(shelf, rule, dry_run=True, **freely)
        assert (promised.versions, len(shelf.sent("photos"))) == (["data:photos@v1"], 2)
        assert (
            collect_shelf(shelf, rule, now=clock(), thorough=True).young.objects
            == promised.freed.objects
            == 3
        )
        done = collect_shelf(shelf, rule, **freely)  # the version went before, its bytes were too young
        assert (done.freed.objects, done.versions) == (3, [])
        assert 700_000 < done.bytes < 710_000
        assert other.data.pull("photos", shelf).added == ["data:photos@v2"]
        assert other.data.dataset("photos").open("shared").read() == shared
        assert shelf.take_down(["photos@v2"]) == ["data:photos@v2"]
        collect_shelf(shelf, **freely)
        assert list(shelf.objects.digests()) == []
        assert workspace.data.push("photos", shelf).added == ["data:photos@v1", "data:photos@v2"]

    def test_a_note_is_put_only_when_all_that_it_names_is_there(
        self, workspace: LocalWorkspace, tmp_path: Path, clock: FakeClock, shelf: Shelf
    ) -> None:
        """A collection may come between the last object of a version and its note: then the version is sent once more."""
        content = os.urandom(500_000)
        workspace.data.add(folder_of(tmp_path, "f", a=content), "photos")
        received = shelf.receive
        came: list[int] = []

        def after_a_collection(versions: Any) -> Any:
            if not came:
                came.append(collect_shelf(shelf, now=clock(), grace=0.0, thorough=True).freed.objects)
            return received(versions)

        shelf.receive = after_a_collection  # type: ignore[method-assign]
        assert workspace.data.push("photos", shelf).added == ["data:photos@v1"]
        assert came == [2]
        assert workspace.objects.read(shelf.sent("photos")[0].version.digest)
        with shelf.objects.open(
            Manifest.decode(shelf.objects.read(shelf.sent("photos")[0].version.digest)).files[0].digest
        ) as f:
            assert f.read() == content

    def test_a_note_that_comes_while_it_is_being_collected_keeps_its_objects(
        self,
        workspace: LocalWorkspace,
        tmp_path: Path,
        clock: FakeClock,
        shelf: Shelf,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Planned as dead, needed again by a version of the same content before it is removed."""
        workspace.data.add(folder_of(tmp_path, "f", a=os.urandom(500_000)), "photos")
        workspace.data.push("photos", shelf)
        shelf.take_down(["photos"])
        removing = shelf.objects.removing

        def pushed_first() -> Any:
            monkeypatch.setattr(shelf.objects, "removing", removing)
            assert workspace.data.push("photos", shelf).objects == 0
            return removing()

        monkeypatch.setattr(shelf.objects, "removing", pushed_first)
        assert collect_shelf(shelf, now=clock(), grace=0.0, thorough=True).freed.objects == 0
        assert workspace.data.fsck("photos", full=True).ok
        assert shelf.objects.missing(shelf.objects.digests()) == set()
        assert workspace.data.push("photos", shelf).present == ["data:photos@v1"]

    def test_the_store_of_a_workspace_is_no_shelf(
        self, workspace: LocalWorkspace, tmp_path: Path, clock: FakeClock
    ) -> None:
        workspace.data.add(folder_of(tmp_path, "f", a=b"1"), "photos")
        assert isinstance(workspace.objects, ContentStore)
        with pytest.raises(Conflict, match="keeps its objects in"):
            collect_shelf(Shelf(workspace.objects), now=clock(), grace=0.0)


class TestPushAndPull:
    def test_versions_come_with_what_is_known_of_them(
        self, workspace: LocalWorkspace, other: LocalWorkspace, tmp_path: Path, clock: FakeClock
    ) -> None:
        with workspace.tracking.start() as run:
            pass
        (tmp_path / "t.csv").write_text("a,b\n1,x\n2,y\n")
        first = workspace.data.add(tmp_path / "t.csv", "t", "the first", producer=f"run:{run.run_id}")
        (tmp_path / "more.csv").write_text("a,b\n3,z\n")
        second = workspace.data.add(tmp_path / "more.csv", "t", append=True)
        clock.advance(days=3)
        moved = workspace.data.push("t", other.data)
        assert moved.added == [first.reference, second.reference]
        there = {each.version: each for each in other.data.log("t")}
        assert (there[1].message, there[1].created, there[1].columns) == (
            "the first",
            first.created,
            first.columns,
        )
        assert there[1].producer == f"run:{run.run_id}"
        assert (there[2].parent, there[2].rows, there[2].user) == ("data:t@v1", 3, second.user)
        assert ("data:t@v1", "data:t@v2", "appended") in other.ledger.edges_of("data:t@v2", upward=True)
        assert other.provenance.why("data:t@v1").reference == "data:t@v1"
        assert other.data.dataset("t").to_arrow()["a"].to_pylist() == [3, 1, 2]
        assert sound(other)
        again = workspace.data.push("t", other.data)
        assert (again.added, again.objects, again.bytes) == ([], 0, 0)

    def test_only_what_is_missing_is_moved(
        self, workspace: LocalWorkspace, other: LocalWorkspace, tmp_path: Path
    ) -> None:
        shared = os.urandom(300_000)
        other.data.add(folder_of(tmp_path, "f", a=shared), "elsewhere")
        workspace.data.add(folder_of(tmp_path, "f", a=shared, b=b"new"), "photos")
        moved = workspace.data.push("photos", other.data)
        assert (moved.objects, moved.of_bytes) == (2, 300_003)
        assert moved.bytes < 1_000
        assert other.data.version("photos").new_bytes == moved.bytes

    def test_one_number_with_two_meanings_is_refused_before_a_byte_moves(
        self, workspace: LocalWorkspace, other: LocalWorkspace, tmp_path: Path
    ) -> None:
        workspace.data.add(folder_of(tmp_path, "f", a=b"mine"), "photos")
        other.data.add(folder_of(tmp_path, "f", a=b"theirs"), "photos")
        before = set(other.objects.digests())
        with pytest.raises(Conflict, match=r"data:photos@v1 in .*other is another version") as refused:
            workspace.data.push("photos", other.data)
        assert "--as" in (refused.value.hint or "")
        assert set(other.objects.digests()) == before
        moved = workspace.data.push("photos", other.data, called="mine/photos")
        assert moved.added == ["data:mine/photos@v1"]
        assert other.data.dataset("mine/photos").open("a").read() == b"mine"
        assert sound(other)

    def test_a_single_version_leaves_its_number_and_the_next_goes_on(
        self, workspace: LocalWorkspace, other: LocalWorkspace, tmp_path: Path
    ) -> None:
        for content in (b"1", b"2"):
            workspace.data.add(folder_of(tmp_path, "f", a=content), "photos")
        assert other.data.pull("photos@v2", workspace.data).added == ["data:photos@v2"]
        assert other.data.add(folder_of(tmp_path, "f", a=b"3"), "photos").reference == "data:photos@v3"
        with pytest.raises(NotFound):
            other.data.pull("phots", workspace.data)

    def test_a_removed_version_comes_back(
        self, workspace: LocalWorkspace, other: LocalWorkspace, tmp_path: Path
    ) -> None:
        workspace.data.add(folder_of(tmp_path, "f", a=os.urandom(3_000)), "photos")
        workspace.data.push("photos", other.data)
        workspace.data.remove("photos")
        assert collect(workspace).freed.objects == 2
        assert workspace.data.pull("photos", other.data).added == ["data:photos@v1"]
        assert sound(workspace)

    def test_through_a_server_both_ways(
        self, workspace: LocalWorkspace, other: LocalWorkspace, tmp_path: Path, clock: FakeClock
    ) -> None:
        content = os.urandom(500_000)
        workspace.data.add(folder_of(tmp_path, "f", a=content, b=b"b"), "photos", "hello")
        with served(other) as url, RemoteWorkspace(url, folder=tmp_path / "client", clock=clock) as remote:
            assert workspace.data.push("photos", remote.data).added == ["data:photos@v1"]
            workspace.data.remove("photos")
            collect(workspace)
            assert workspace.data.pull("photos", remote.data).objects == 3
            assert remote.data.fsck(full=True).ok
            assert remote.data.collect(dry_run=True).freed.objects == 0
            with pytest.raises(InvalidInput, match="healed where the store is"):
                remote.data.fsck(heal=workspace.data)
        assert workspace.data.dataset("photos").open("a").read() == content
        assert sound(workspace)
        assert sound(other)

    def test_of_a_large_file_that_changed_only_the_chunks_that_are_missing_travel(
        self,
        workspace: LocalWorkspace,
        other: LocalWorkspace,
        tmp_path: Path,
        clock: FakeClock,
        traffic: Traffic,
    ) -> None:
        """Over the wire both ways, byte for byte the same in the end; many small files go in few requests."""
        chance = random.Random(
            0
        )  # where a file is cut depends on what is in it, and how much travels on where it is cut
        content = chance.randbytes(3_000_000)
        small = {f"s{number}": chance.randbytes(2_000) for number in range(300)}
        workspace.data.add(folder_of(tmp_path, "f", large=content, **small), "photos")
        with served(other) as url, RemoteWorkspace(url, folder=tmp_path / "client", clock=clock) as remote:
            traffic.of(lambda: workspace.data.push("photos", remote.data))
            assert (traffic.sent > 3_600_000, traffic.requests < 12) == (True, True)
            changed = content[:1_500_000] + b"inserted" + content[1_500_000:]
            workspace.data.add(folder_of(tmp_path, "f", large=changed), "photos")
            traffic.of(lambda: workspace.data.push("photos", remote.data))
            assert 0 < traffic.sent < 400_000
            assert other.data.dataset("photos@v2").open("large").read() == changed

            again = b"in front" + changed
            other.data.add(folder_of(tmp_path, "f", large=again), "photos")
            traffic.of(lambda: workspace.data.pull("photos", remote.data))
            assert 0 < traffic.received < 400_000
            assert workspace.data.dataset("photos@v3").open("large").read() == again
            with LocalWorkspace(tmp_path / "third", clock=clock) as third:
                traffic.of(lambda: third.data.pull("photos@v1", remote.data))
                assert (traffic.received > 3_600_000, traffic.requests < 16) == (True, True)
                assert sound(third)
        assert sound(workspace)
        assert sound(other)

    def test_an_older_server_gets_and_gives_objects_whole(
        self,
        workspace: LocalWorkspace,
        other: LocalWorkspace,
        tmp_path: Path,
        clock: FakeClock,
        monkeypatch: Any,
    ) -> None:
        newer = ("/read", "/missing-pieces", "/chunks")
        routes = ObjectEndpoints.routes
        monkeypatch.setattr(
            ObjectEndpoints,
            "routes",
            lambda endpoints: [each for each in routes(endpoints) if not each.path.endswith(newer)],
        )
        content = os.urandom(1_000_000)
        workspace.data.add(folder_of(tmp_path, "f", large=content, small=b"s"), "photos")
        with served(other) as url, RemoteWorkspace(url, folder=tmp_path / "client", clock=clock) as remote:
            workspace.data.push("photos", remote.data)
            assert remote.data.add(folder_of(tmp_path, "g", large=content * 2, small=b"t"), "mine").files == 2
            assert workspace.data.pull("mine", remote.data).added == ["data:mine@v1"]
            remote.data.checkout("mine", tmp_path / "out")
            with pytest.raises(Unavailable, match="does not offer /api/v1/objects/missing-pieces"):
                remote.objects.missing_pieces([])
        assert (tmp_path / "out" / "large").read_bytes() == content * 2
        assert sound(other)
        assert sound(workspace)

    def test_chunks_that_a_server_lost_meanwhile_are_sent_again(
        self,
        workspace: LocalWorkspace,
        other: LocalWorkspace,
        tmp_path: Path,
        clock: FakeClock,
        monkeypatch: Any,
    ) -> None:
        content = os.urandom(1_000_000)
        workspace.data.add(folder_of(tmp_path, "f", large=content), "photos")
        workspace.data.push("photos", other.data)
        workspace.data.add(folder_of(tmp_path, "f", large=b"x" + content), "photos")
        with served(other) as url, RemoteWorkspace(url, folder=tmp_path / "client", clock=clock) as remote:
            asked = remote.objects.missing_pieces

            def before_it_is_collected(digests: Any) -> set[str]:
                missing = asked(digests)
                if other.data.newest("photos") is not None:
                    other.data.remove("photos@v1")
                    assert collect(other).freed.objects == 2
                return missing

            monkeypatch.setattr(remote.objects, "missing_pieces", before_it_is_collected)
            assert workspace.data.push("photos@v2", remote.data).added == ["data:photos@v2"]
        assert other.data.dataset("photos@v2").open("large").read() == b"x" + content
        assert sound(other)

    def test_many_objects_from_a_server_one_of_which_is_damaged_or_gone(
        self, workspace: LocalWorkspace, tmp_path: Path, clock: FakeClock
    ) -> None:
        stored = [workspace.objects.put(b"%d" % number * 100) for number in range(3)]
        digests = [each.digest for each in stored]
        with (
            served(workspace) as url,
            RemoteWorkspace(url, folder=tmp_path / "client", clock=clock) as remote,
        ):
            with pytest.raises(NotFound, match="0000"):
                list(remote.objects.read_many([*digests, "0" * 64]))
            (workspace.folder / "objects/loose" / digests[1][:2] / digests[1][2:]).write_bytes(b"damaged")
            with pytest.raises(Corrupted, match=digests[1]):
                list(remote.objects.read_many(digests))

    def test_a_batch_that_lies_is_refused_whole(self, other: LocalWorkspace, tmp_path: Path) -> None:
        """What is called the chunks of an object must be that object: else a name could be given to other bytes."""
        head = FRAME.pack(CUT) + CUT_HEAD.pack(b"d" * 32, 1)
        claimed = head + CUT_CHUNK.pack(b"c" * 32, 5, 1) + b"other"
        with served(other) as url:
            for body, status, said in [
                (claimed, 400, "did not arrive whole"),
                (claimed[:-1], 400, "ends inside an object"),
                (head, 400, "ends inside an object"),
                (head + CUT_CHUNK.pack(b"c" * 32, 5, 0), 409, "1 chunks are not here any more"),
            ]:
                answer = httpx.put(f"{url}/api/v1/objects/batch", content=FRAME.pack(3) + b"one" + body)
                assert (answer.status_code, said in answer.text) == (status, True), answer.text
        assert list(other.objects.digests()) == []

    def test_through_s3_without_a_ledger(
        self, workspace: LocalWorkspace, other: LocalWorkspace, tmp_path: Path, s3_address: str
    ) -> None:
        content = os.urandom(900_000)
        workspace.data.add(folder_of(tmp_path, "f", a=content), "photos", "hello")
        shelf = Shelf(open_objects(s3_address, cache=tmp_path / "cache"))
        assert workspace.data.push("photos", shelf).added == ["data:photos@v1"]
        again = workspace.data.push("photos", Shelf(open_objects(s3_address, cache=tmp_path / "cache 2")))
        assert (again.objects, again.present) == (0, ["data:photos@v1"])
        assert other.data.pull("photos", shelf).added == ["data:photos@v1"]
        assert other.data.version("photos").message == "hello"
        assert other.data.dataset("photos").open("a").read() == content
        other.data.add(folder_of(tmp_path, "f", a=b"2"), "photos")
        workspace.data.add(folder_of(tmp_path, "f", a=b"3"), "photos")
        workspace.data.push("photos", shelf)
        with pytest.raises(Conflict, match="photos@v2"):
            other.data.push("photos", shelf)
        shelf.objects.close()

    def test_a_server_that_dies_meanwhile(self, workspace: LocalWorkspace, tmp_path: Path) -> None:
        files = {f"{number}": os.urandom(20_000) for number in range(40)}
        workspace.data.add(folder_of(tmp_path, "f", **files), "photos")
        server = KillableServer(tmp_path / "served")
        server.start()
        try:
            with RemoteWorkspace(server.url, folder=tmp_path / "client") as remote:
                server.kill()
                with pytest.raises(Unavailable):
                    workspace.data.push("photos", remote.data)
                server.start()
                assert workspace.data.push("photos", remote.data).added == ["data:photos@v1"]
        finally:
            server.kill()
        with LocalWorkspace(tmp_path / "served") as theirs:
            assert sound(theirs)


class TestFsck:
    @pytest.fixture
    def healthy(self, workspace: LocalWorkspace, other: LocalWorkspace, tmp_path: Path) -> LocalWorkspace:
        workspace.data.add(folder_of(tmp_path, "f", small=b"s" * 1_000, large=os.urandom(900_000)), "photos")
        workspace.data.add(folder_of(tmp_path, "f", extra=b"e"), "photos")
        workspace.data.push("photos", other.data)
        assert workspace.data.fsck(full=True).ok
        return workspace

    def test_flipped_bits_are_named_with_version_and_path(self, healthy: LocalWorkspace) -> None:
        flip(healthy, b"s" * 1_000)
        assert healthy.data.fsck().ok  # all is there, in its size
        found = healthy.data.fsck(full=True)
        assert not found.ok
        (fault,) = found.faults
        assert fault.place.startswith("packs/")
        uses = [(use.reference, use.path) for use in fault.used_by]
        assert uses == [("data:photos@v1", "small"), ("data:photos@v2", "small")]
        assert healthy.data.fsck("photos@v1", full=True).versions == 1

    def test_damage_is_healed_from_another_store(
        self, healthy: LocalWorkspace, other: LocalWorkspace, tmp_path: Path
    ) -> None:
        flip(healthy, b"s" * 1_000)
        for pack in healthy.folder.rglob("*.pack"):
            if pack.stat().st_size > 800_000:
                data = bytearray(pack.read_bytes())
                data[500_000] ^= 1
                pack.write_bytes(data)
        done = healthy.data.fsck(heal=other.data)
        assert (done.ok, len(done.healed)) == (True, 2)
        assert sound(healthy)
        assert healthy.data.fsck(heal=other.data).healed == []

    def test_missing_files_and_lists_are_healed(self, healthy: LocalWorkspace, other: LocalWorkspace) -> None:
        for pack in healthy.folder.rglob("*.pack"):
            pack.unlink()
        quick = healthy.data.fsck()
        assert {(use.reference, use.path) for fault in quick.faults for use in fault.used_by} == {
            ("data:photos@v1", ""),
            ("data:photos@v2", ""),
        }
        done = healthy.data.fsck(heal=other.data)
        assert done.ok
        assert sound(healthy)

    def test_a_truncated_pack(self, healthy: LocalWorkspace, other: LocalWorkspace) -> None:
        for pack in healthy.folder.rglob("*.pack"):
            pack.write_bytes(pack.read_bytes()[:-30])
        assert not healthy.data.fsck(full=True).ok
        assert healthy.data.fsck(heal=other.data).ok
        assert sound(healthy)

    def test_files_by_reference_are_looked_at_where_they_are(
        self, workspace: LocalWorkspace, tmp_path: Path
    ) -> None:
        there = folder_of(tmp_path, "there", a=b"aaaa", b=b"bbbb", c=b"cccc")
        workspace.data.add(there, "outside", reference=True)
        workspace.data.add(there, "outside2", reference=True)
        found = workspace.data.fsck(full=True)
        assert (found.ok, found.referenced) == (True, 3)
        (there / "a").write_bytes(b"AAAA")
        (there / "b").write_bytes(b"longer")
        (there / "c").unlink()
        assert {Path(each.place).name for each in workspace.data.fsck().faults} == {"b", "c"}
        found = workspace.data.fsck("outside@v1", full=True)
        assert not found.ok
        told = {each.used_by[0].path: each.message for each in found.faults}
        assert "other bytes" in told["a"]
        assert "had 4 when" in told["b"]
        assert "nothing at" in told["c"]
        assert [use.reference for use in workspace.data.fsck().faults[0].used_by] == [
            "data:outside2@v1",
            "data:outside@v1",
        ]

    def test_what_no_store_has_stays_a_fault(self, healthy: LocalWorkspace, tmp_path: Path) -> None:
        flip(healthy, b"s" * 1_000)
        found = healthy.data.fsck(heal=Shelf(open_objects(tmp_path / "empty")))
        assert (found.ok, found.healed) == (False, [])

    def test_a_level_that_does_not_exist(self, workspace: LocalWorkspace) -> None:
        with pytest.raises(InvalidInput, match="no level 'deep'"):
            workspace.data.examine(level="deep")


class TestCommands:
    @pytest.fixture
    def run(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
        (tmp_path / "project" / ".everloop").mkdir(parents=True)
        monkeypatch.chdir(tmp_path / "project")

        def run(*arguments: str) -> tuple[int, Any]:
            code = main([*arguments, "--json"])
            return code, json.loads(capsys.readouterr().out)

        return run

    def test_a_shelf_a_workspace_and_back(self, run: Any, tmp_path: Path, capsys: Any) -> None:
        folder_of(tmp_path, "f", a=b"1", b=os.urandom(400_000))
        run("data", "add", "../f", "--name", "photos")
        code, pushed = run("data", "push", "--to", "../shelf")
        assert (code, pushed["added"], pushed["present"]) == (0, ["data:photos@v1"], [])
        assert run("data", "push", "photos", "--to", "../shelf")[1]["bytes"] == 0
        assert run("data", "rm", "photos")[0] == 0
        code, would = run("data", "gc", "--dry-run", "--grace", "0s")
        assert (code, would["freed"]["objects"], would["dry_run"]) == (0, 3, True)
        assert run("data", "gc", "--grace", "0s")[1]["freed"] == would["freed"]
        code, there = run("data", "gc", "--at", "../shelf", "--keep-last", "1", "--dry-run")
        assert (code, there["freed"]["objects"], there["versions"]) == (0, 0, [])
        assert run("data", "pull", "--from", "../shelf")[1]["added"] == ["data:photos@v1"]
        assert run("data", "fsck", "--full") == (
            0,
            {
                "ok": True,
                "level": "full",
                "versions": 1,
                "objects": 3,
                "faults": [],
                "healed": [],
                "referenced": 0,
            },
        )
        code, pinned = run("data", "pin", "photos@v1", "--reason", "paper")
        assert pinned["reference"] == "data:photos@v1"
        assert [each["reason"] for each in run("data", "pin")[1]["pins"]] == ["paper"]
        assert run("data", "unpin", "photos@v1")[1] == {"unpinned": True}
        for path in (tmp_path / "project").rglob("*.pack"):
            path.unlink()
        assert run("data", "fsck")[0] == 1
        assert main(["data", "fsck"]) == 1
        assert "is missing" in capsys.readouterr().out
        code, healed = run("data", "fsck", "--heal", "../shelf")
        assert (code, healed["ok"], len(healed["healed"])) == (0, True, 3)
        assert run("data", "rm", "photos", "--at", "../shelf") == (0, {"removed": ["data:photos@v1"]})
        assert run("data", "gc", "--at", "../shelf", "--grace", "0s")[1]["freed"]["objects"] == 3

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["push", "--to", "ftp://x/y"], "is no place for data"),
            (["push", "--to", ".."], "holds other things"),
            (["push", "nothing", "--to", "../shelf"], "no dataset is called 'nothing'"),
            (["pull", "x", "--from", "../shelf"], "no dataset in"),
            (["gc", "photos"], "freed for all datasets together"),
            (["gc", "--at", "."], "is a workspace, not a shelf"),
            (["gc", "--at", ".everloop/objects"], "keeps its objects in"),
            (["gc", "--grace", "soon"], "not a length of time"),
            (["gc", "--keep-last", "-1"], "-1"),
            (["fsck", "nothing"], "no dataset is called"),
            (["pin", "nothing"], "no dataset is called"),
        ],
    )
    def test_mistakes_are_told_in_a_sentence(self, run: Any, arguments: list[str], said: str) -> None:
        code, answer = run("data", *arguments)
        assert code == 2
        assert said in answer["error"]["message"]


def persistently(add: Callable[[], Any]) -> Any:
    """Without a grace, and against collectors that never rest, an add may be told again and again that its bytes were freed."""
    for _ in range(20):
        with suppress(Conflict):
            return add()
    return add()


def stored_version(workspace: LocalWorkspace, content: bytes) -> NewVersion:
    """A version whose bytes are stored, and which nobody has recorded yet."""
    with workspace.objects.writer() as writer:
        file = writer.add(content)
        manifest = Manifest.of([FileEntry("file", file.digest, file.size)])
        listing = writer.add(manifest.encode())
    return NewVersion(name="raced", digest=listing.digest, new_bytes=0, rows=None, columns=[], parent=0)


def size_of(workspace: LocalWorkspace) -> int:
    return sum(
        each.stat().st_size for each in (workspace.folder / "objects").rglob("*") if each.suffix == ".pack"
    )


def flip(workspace: LocalWorkspace, content: bytes) -> None:
    """Change one bit where this content is stored."""
    for path in (workspace.folder / "objects").rglob("*"):
        if path.is_file() and path.suffix == ".pack" and content in (data := path.read_bytes()):
            at = data.index(content) + 7
            path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
            return
    raise AssertionError("the content is not stored as it is")
