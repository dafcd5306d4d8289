"""kill -9 at each step that gc, push and healing take in the object store: what is needed is whole, and a rerun completes."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from everloop.data.stores.shelves import Shelf
from everloop.store.objects import open_objects
from everloop.workspace.local import LocalWorkspace

CHILD = """
import os, signal, sys
from pathlib import Path
from everloop.data.stores.shelves import Shelf
from everloop.store.objects import open_objects
from everloop.store.objects.buckets import LocalBucket
from everloop.workspace.local import LocalWorkspace

left = int(sys.argv[3])

def dying(method):
    def call(self, *arguments):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        result = method(self, *arguments)
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    return call

for name in ("put", "put_file", "delete", "touch"):
    setattr(LocalBucket, name, dying(getattr(LocalBucket, name)))
with LocalWorkspace(Path(sys.argv[1])) as workspace:
    shelf = Shelf(open_objects(sys.argv[2]))
    match sys.argv[4]:
        case "gc":
            workspace.data.collect(grace=0.0, thorough=True)
        case "push":
            workspace.data.push("photos", shelf)
        case "pull":
            workspace.data.pull("photos", shelf)
        case "heal":
            workspace.data.fsck(heal=shelf)
print("done")
"""


def killed(project: Path, shelf: Path, what: str, step: int) -> bool:
    """Do it in a process that is killed before or after its n-th change; False when it came to its end."""
    child = subprocess.run(
        [sys.executable, "-c", CHILD, str(project), str(shelf), str(step), what],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if child.returncode == -signal.SIGKILL:
        return True
    assert (child.returncode, child.stdout) == (0, "done\n"), child.stderr
    return False


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, size in enumerate((10, 5_000, 400_000, 900_000)):
        (folder / f"{number}.bin").write_bytes(os.urandom(size))
    return folder


def sound(project: Path) -> bool:
    with LocalWorkspace(project) as workspace:
        return workspace.governance.verify().ok and workspace.data.examine(level="full").ok


def test_gc(tmp_path: Path, photos: Path) -> None:
    project = tmp_path / "project"
    with LocalWorkspace(project) as workspace:
        workspace.data.add(photos / "2.bin", "kept")
    steps = 0
    while True:
        with LocalWorkspace(project) as workspace:
            # Some packs die as a whole, of some a part stays, and a loose object goes too.
            workspace.data.add(photos, "photos", message=f"{steps}")
            (photos / "3.bin").write_bytes(os.urandom(900_000))
            workspace.data.add(photos, "photos")
            workspace.objects.put(b"%d" % steps)
            workspace.data.remove(workspace.data.log("photos")[1].reference)
        steps += 1
        if not killed(project, tmp_path / "shelf", "gc", steps):
            break
        assert sound(project)
    assert steps > 5
    with LocalWorkspace(project) as workspace:
        for version in workspace.data.log("photos")[1:]:
            workspace.data.remove(version.reference)
        workspace.data.collect(grace=0.0, thorough=True)
        kept = sum((photos / f"{number}.bin").stat().st_size for number in range(4))
        packs = sum(path.stat().st_size for path in (workspace.folder / "objects" / "packs").iterdir())
        assert packs < kept + 20_000
    assert sound(project)


@pytest.mark.parametrize("what", ["push", "pull"])
def test_push_and_pull(tmp_path: Path, photos: Path, what: str) -> None:
    source, shelf, target = tmp_path / "source", tmp_path / "shelf", tmp_path / "target"
    with LocalWorkspace(source) as workspace:
        for turn in range(3):
            (photos / "0.bin").write_bytes(os.urandom(10 + turn))
            workspace.data.add(photos, "photos")
        if what == "pull":
            workspace.data.push("photos", Shelf(open_objects(shelf)))
    project = source if what == "push" else target
    steps = 1
    while killed(project, shelf, what, steps):
        # The same place again: each attempt goes on where the last one stopped, and so gets further with fewer steps.
        store = open_objects(shelf)
        assert list(store.verify()) == []
        store.close()
        if what == "pull":
            assert sound(target)
        steps += 1
    assert steps > 2
    with LocalWorkspace(tmp_path / "fresh") as fresh:
        place = Shelf(open_objects(shelf))
        assert len(fresh.data.pull("photos", place).added) == 3
        assert fresh.data.dataset("photos").open("3.bin").read() == (photos / "3.bin").read_bytes()
    if what == "pull":
        with LocalWorkspace(target) as workspace:
            assert [each.version for each in workspace.data.log("photos")] == [3, 2, 1]


def test_healing(tmp_path: Path, photos: Path) -> None:
    project, shelf = tmp_path / "project", tmp_path / "shelf"
    with LocalWorkspace(project) as workspace:
        workspace.data.add(photos, "photos")
        workspace.data.push("photos", Shelf(open_objects(shelf)))
        (pack,) = (workspace.folder / "objects" / "packs").iterdir()
    data = bytearray(pack.read_bytes())
    for at in (20, 3_000, 700_000):
        data[at] ^= 1
    pack.write_bytes(data)
    assert not sound(project)
    steps = 1
    while killed(project, shelf, "heal", steps):
        steps += 2
    assert steps > 3
    assert sound(project)


FULL = """
import resource, signal, sys
from pathlib import Path
from everloop.errors import StorageError
from everloop.workspace.local import LocalWorkspace
with LocalWorkspace(Path(sys.argv[1])) as workspace:
    workspace.data.newest("photos")
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, 1_500_000))  # as if the disk were full
    try:
        workspace.data.collect(grace=0.0, thorough=True)
    except StorageError as error:
        print(error.message)
"""


def test_gc_on_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    """A pack that is to be written anew does not fit; packs that are dead as a whole go all the same."""
    project, folder = tmp_path / "project", tmp_path / "photos"
    folder.mkdir()
    with LocalWorkspace(project) as workspace:
        (folder / "dead.bin").write_bytes(os.urandom(900_000))
        workspace.data.add(folder, "alone")
        (folder / "dead.bin").write_bytes(os.urandom(900_000))
        (folder / "kept.bin").write_bytes(os.urandom(2_000_000))
        workspace.data.add(folder, "photos")
        (folder / "dead.bin").unlink()
        workspace.data.add(folder, "photos")
        for reference in ("alone", "photos@v1"):
            workspace.data.remove(reference)
        packs = workspace.folder / "objects" / "packs"
        before = len(list(packs.iterdir()))
    child = subprocess.run(
        [sys.executable, "-c", FULL, str(project)], capture_output=True, text=True, timeout=120, check=False
    )
    assert child.returncode == 0, child.stderr
    assert child.stdout
    assert sound(project)
    assert len(list(packs.iterdir())) == before - 1
    with LocalWorkspace(project) as workspace:
        assert workspace.data.collect(grace=0.0, thorough=True).freed.objects == 2
        assert sum(path.stat().st_size for path in packs.iterdir()) < 2_050_000
    assert sound(project)
