"""kill -9 while data are added: the dataset has the whole version or not, and adding again completes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from everloop.workspace.local import LocalWorkspace

ADD = """
import sys
from pathlib import Path
from everloop.workspace.local import LocalWorkspace
with LocalWorkspace(Path(sys.argv[1])) as workspace:
    print("adding", flush=True)
    workspace.data.add(sys.argv[2], "photos", append=True)
"""


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for number in range(300):
        path = folder / f"{number % 7}" / f"{number}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(400_000 if number % 50 == 0 else 10_000))
    return folder


def test_killed_at_any_moment_it_is_whole_or_absent(tmp_path: Path, photos: Path) -> None:
    project = tmp_path / "project"
    with LocalWorkspace(project) as workspace:
        workspace.data.add(photos / "0", "others")
    seen = set()
    for delay in (0.0, 0.02, 0.05, 0.1, 0.2, 0.4):
        child = subprocess.Popen(
            [sys.executable, "-c", ADD, str(project), str(photos)], stdout=subprocess.PIPE
        )
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(delay)  # not a wait for something to happen: the moment of the kill is what varies
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        with LocalWorkspace(project) as workspace:
            there = workspace.data.newest("photos")
            seen.add(there is not None)
            if there is not None:
                assert (there.version, there.files) == (1, 300)
                dataset = workspace.data.dataset("photos")
                assert all(
                    dataset.open(f.path).read() == (photos / f.path).read_bytes() for f in dataset.files()
                )
            assert workspace.governance.verify().ok
    assert False in seen, "it was never killed in time to see anything"
    with LocalWorkspace(project) as workspace:
        assert workspace.data.add(photos, "photos", append=True).files == 300
        assert workspace.governance.verify().ok


FULL = """
import resource, signal, sys
from pathlib import Path
from everloop.errors import StorageError
from everloop.workspace.local import LocalWorkspace
with LocalWorkspace(Path(sys.argv[1])) as workspace:
    workspace.data.newest("photos")
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))  # as if the disk were full
    try:
        workspace.data.add(sys.argv[2], "photos")
    except StorageError as error:
        print(error.message)
"""


def test_a_full_disk_is_said_and_nothing_is_added(tmp_path: Path, photos: Path) -> None:
    project = tmp_path / "project"
    with LocalWorkspace(project) as workspace:
        workspace.data.add(photos / "0" / "7.bin", "one")
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(project), str(photos)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip(), done.stderr
    with LocalWorkspace(project) as workspace:
        assert workspace.data.newest("photos") is None
        assert workspace.governance.verify().ok
        assert workspace.data.add(photos, "photos").files == 300


CHECKOUT = """
import sys
from pathlib import Path
from everloop.workspace.local import LocalWorkspace
with LocalWorkspace(Path(sys.argv[1])) as workspace:
    workspace.data.newest("photos")
    print("writing", flush=True)
    workspace.data.checkout(sys.argv[2], sys.argv[3], link=sys.argv[4])
"""


@pytest.mark.parametrize("link", ["copy", "hardlink"])
def test_a_checkout_that_is_killed_leaves_the_folder_as_one_version(
    tmp_path: Path, photos: Path, link: str
) -> None:
    project, out = tmp_path / "project", tmp_path / "out"
    with LocalWorkspace(project) as workspace:
        workspace.data.add(photos / "0", "photos")
        workspace.data.add(photos, "photos")
        workspace.data.checkout("photos@v1", out)
    wholes = {
        version: {path.relative_to(source).as_posix(): path.read_bytes() for path in source.rglob("*.bin")}
        for version, source in ((1, photos / "0"), (2, photos))
    }
    wanted = 2
    for delay in (0.0, 0.02, 0.05, 0.12, 0.2):
        child = subprocess.Popen(
            [sys.executable, "-c", CHECKOUT, str(project), f"photos@v{wanted}", str(out), link],
            stdout=subprocess.PIPE,
        )
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(delay)  # not a wait for something to happen: the moment of the kill is what varies
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        held = {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*.bin")}
        version = next(number for number, files in wholes.items() if files == held)
        with LocalWorkspace(project) as workspace:
            status = workspace.data.status(out)
            assert (status.clean, status.reference) == (True, f"data:photos@v{version}"), (
                "and it is known which"
            )
        if version == wanted:
            wanted = 3 - wanted
    with LocalWorkspace(project) as workspace:
        for version in (1, 2):
            workspace.data.checkout(f"photos@v{version}", out, link=link)
            held = {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*.bin")}
            assert held == wholes[version]
        assert workspace.governance.verify().ok
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "photos", "project"]
