"""kill -9 while objects are stored: nothing half-written is visible, everything acknowledged is there."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from everloop.store.objects import ContentStore, open_objects
from everloop.store.objects.buckets import STALE_AFTER, LocalBucket

# Stores objects of every kind and prints the digest of each when it is acknowledged. With a second argument it kills
# itself just before its n-th call to the system that matters; `at end` of the output says that it was not killed.
_WRITER = """
import os, random, signal, sys
from pathlib import Path
from everloop.store.objects import open_objects, packs

packs.LIMIT = 400_000  # so that a large object takes several packs
seed, kill_at = int(sys.argv[2]), int(sys.argv[3])
calls = 0

def deadly(call):
    def counted(*args, **keywords):
        global calls
        calls += 1
        if calls == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*args, **keywords)
    return counted

if kill_at:
    for name in ("fsync", "replace", "write", "mkdir"):
        setattr(os, name, deadly(getattr(os, name)))

store = open_objects(sys.argv[1])
noise = random.Random(seed).randbytes

def acknowledge(stored):
    for each in stored:
        sys.stdout.write(each.digest + "\\n")
    sys.stdout.flush()

while True:
    acknowledge([store.put(noise(2000))])
    acknowledge([store.put(noise(700_000))])
    with store.writer() as writer:
        stored = [writer.add(noise(size)) for size in (10, 5000, 400_000, 100_000)]
    acknowledge(stored)
    if kill_at:
        break
print("at end", flush=True)
"""


def start(root: Path, seed: int, kill_at: int = 0) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _WRITER, str(root), str(seed), str(kill_at)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def assert_whole(root: Path, acknowledged: list[str]) -> None:
    store = open_objects(root)
    assert store.missing(acknowledged) == set()
    for digest in store.digests():  # also those that were stored and not acknowledged: whole, or not there
        store.read(digest)
    assert list(store.verify()) == []
    store.close()


def test_killed_at_every_step_of_storing(tmp_path: Path) -> None:
    """Before each write of a staged file, each sync, each rename, in turn."""
    for kill_at in range(1, 100):
        root = tmp_path / f"killed-at-{kill_at}"
        writer = start(root, seed=0, kill_at=kill_at)
        output, _ = writer.communicate()
        lines = output.split()
        if output.endswith("at end\n"):
            assert writer.returncode == 0
            break
        assert writer.returncode == -signal.SIGKILL
        assert_whole(root, [line for line in lines if len(line) == 64])
        # What was left behind is ignored, and swept when it is old.
        age = (root / "staging").stat().st_mtime + STALE_AFTER + 10 if (root / "staging").exists() else 0
        later = ContentStore(LocalBucket(root), root / "index.sqlite", clock=lambda age=age: age)  # type: ignore[misc]
        later.put(b"goes on")
        assert list((root / "staging").iterdir()) == []
        later.close()
    assert kill_at > 15, "the writer was killed at many places before it came to its end"


@pytest.mark.parametrize("after", [1, 6, 20])
def test_killed_from_outside_while_two_processes_store(tmp_path: Path, after: int) -> None:
    root = tmp_path / "store"
    writers = [start(root, seed) for seed in (1, 2)]
    acknowledged: list[str] = []
    for writer in writers:
        assert writer.stdout is not None
        acknowledged += [writer.stdout.readline().strip() for _ in range(after)]
    for writer in writers:
        writer.kill()
    for writer in writers:
        output, _ = writer.communicate()
        # The pipe may end inside a line.
        acknowledged += [line[:64] for line in output.splitlines(keepends=True) if len(line) == 65]
        assert writer.returncode == -signal.SIGKILL
    assert len(acknowledged) >= 2 * after
    assert_whole(root, acknowledged)


def test_two_processes_that_store_the_same_at_once_share_it(tmp_path: Path) -> None:
    root = tmp_path / "store"
    writers = [start(root, seed=3, kill_at=10**9) for _ in range(2)]
    outputs = [writer.communicate()[0] for writer in writers]
    assert outputs[0] == outputs[1]
    assert outputs[0].endswith("at end\n")
    acknowledged = outputs[0].splitlines()[:-1]
    assert_whole(root, acknowledged)
    store = open_objects(root)
    assert sorted(store.digests()) == sorted(acknowledged)
    store.close()
