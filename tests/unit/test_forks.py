"""Programs that are forked from a process with their libraries loaded, seen from outside: they are as if begun from nothing."""

import dataclasses
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from everloop.engine.forks import asking
from everloop.engine.forks.programs import Program, expect, run
from everloop.engine.forks.requests import receive_request
from everloop.engine.here import environment

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="elsewhere every program is begun from nothing"
)

TELLS = """
import json, os, random, sys
loaded = "numpy" in sys.modules  # before this program has asked for it
import numpy as np
print(json.dumps({
    "loaded": loaded, "pid": os.getpid(), "parent": os.getppid(), "arguments": sys.argv[1:], "folder": os.getcwd(),
    "own": os.environ.get("OWN"), "random": random.random(), "numbers": np.random.rand(), "name": __name__,
    "said": sys.stdin.read(), "open": len(os.listdir("/proc/self/fd")),
}))
print("and this to the side", file=sys.stderr)
sys.exit(int(sys.argv[1]))
"""
LOOKS_FOR_OTHERS = "import sibling"
WAITS = """
import os, sys, time
from pathlib import Path
Path("began").write_text(str(os.getpid()))
time.sleep(600)
"""
KILLS_ITSELF = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("programs")
    for name, text in {
        "tells": TELLS,
        "waits": WAITS,
        "killed": KILLS_ITSELF,
        "sibling": "",
        "looks": LOOKS_FOR_OTHERS,
    }.items():
        (folder / f"{name}.py").write_text(text)
    return folder


def program(project, module, *arguments, purpose="test", packages=("numpy",), isolated=False, **variables):
    return Program(
        module, arguments, environment(os.environ) | variables, project, purpose, isolated, "", packages
    )


def told(project, *arguments, **how):
    return json.loads(run(program(project, "tells", *arguments, **how)).out)


def test_a_forked_program_is_as_one_begun_from_nothing_but_finds_its_libraries_loaded(project):
    nothing = run(program(project, "tells", "0", packages=(), OWN="first"))
    first = run(program(project, "tells", "3", "a b", OWN="first"))
    second = run(program(project, "tells", "0", OWN="second"))
    plain, one, two = (json.loads(each.out) for each in (nothing, first, second))
    assert (first.code, first.err, second.code) == (3, b"and this to the side\n", 0)
    assert (plain["loaded"], one["loaded"], two["loaded"]) == (False, True, True)
    assert plain["parent"] == os.getpid()
    assert one["parent"] == two["parent"] != os.getpid()
    assert len({one["pid"], two["pid"], os.getpid()}) == 3
    assert (one["arguments"], one["own"], two["own"]) == (["3", "a b"], "first", "second")
    same = ("folder", "name", "said", "open")
    assert {each: one[each] for each in same} == {each: plain[each] for each in same}
    assert len({plain["random"], one["random"], two["random"]}) == 3
    assert len({plain["numbers"], one["numbers"], two["numbers"]}) == 3


def test_a_forked_program_gets_files_under_their_numbers_and_a_session_of_its_own(project):
    (project / "writes.py").write_text(
        "import os, sys\n"
        "for number, text in zip(sys.argv[1::2], sys.argv[2::2]): os.write(int(number), text.encode())\n"
        "print(os.getsid(0) == os.getpid() == os.getpgrp(), 'numpy' in sys.modules)\n"
    )
    one, two = os.pipe(), os.pipe()
    # Low numbers: such a one the server may have for another of the files.
    first, second = (fcntl.fcntl(each[1], fcntl.F_DUPFD, number) for each, number in ((one, 30), (two, 5)))
    for packages in ((), ("numpy",)):
        asked = program(project, "writes", str(first), "first", str(second), "second", packages=packages)
        ended = run(dataclasses.replace(asked, files=(first, second), session=True))
        assert ended.out.split() == [b"True", str(bool(packages)).encode()], ended
        assert (os.read(one[0], 99), os.read(two[0], 99)) == (b"first", b"second")
    for each in (*one, *two, first, second):
        os.close(each)


def test_a_forked_program_ends_as_one_begun_from_nothing(project):
    (project / "ends.py").write_text(
        "import atexit, sys, threading, time\n"
        "def late():\n"
        "    time.sleep(0.1)\n"
        "    sys.stdout.write('from a thread ')\n"
        "threading.Thread(target=late).start()\n"
        "atexit.register(lambda: sys.stdout.write('at the end'))\n"
        "how = sys.argv[1]\n"
        "if how == 'raises': raise ValueError('no luck')\n"
        "if how != 'returns': sys.exit(how if how == 'said' else int(how))\n"
    )
    for how in ("returns", "0", "3", "256", "-1", "said", "raises"):
        plain, forked = (
            run(program(project, "ends", how, packages=packages)) for packages in ((), ("numpy",))
        )
        assert (
            (forked.code, forked.out) == (plain.code, plain.out) == (plain.code, b"from a thread at the end")
        )
        assert forked.err.splitlines()[-1:] == plain.err.splitlines()[-1:]


def test_libraries_are_loaded_ahead_without_a_program(project):
    asked = program(project, "tells", "0", purpose="later")
    expect(asked)
    assert json.loads(run(asked).out)["loaded"]
    expect(program(project, "tells", packages=()))  # nothing to load: nothing is begun


def test_programs_share_a_server_only_where_nothing_could_come_of_it(project):
    usual = told(project, "0")["parent"]
    assert told(project, "0", ANYTHING="else")["parent"] == usual
    assert told(project, "0", purpose="another")["parent"] != usual
    assert told(project, "0", OMP_NUM_THREADS="2")["parent"] != usual
    assert told(project, "0", PYTHONHASHSEED="7")["parent"] != usual


def test_an_isolated_program_sees_only_what_is_installed(project):
    assert run(program(project, "looks")).code == 0
    for packages in ((), ("numpy",)):
        alone = run(program(project, "looks", isolated=True, packages=packages))
        assert alone.code == 1
        assert b"No module named" in alone.err


def test_a_program_that_takes_too_long_or_dies_is_ended_and_told(project):
    with pytest.raises(TimeoutError):
        run(program(project, "waits"), timeout=0.5)
    began = project / "began"
    waited_for(lambda: not began.exists() or gone(int(began.read_text())))
    assert run(program(project, "killed")).code == -signal.SIGKILL


def test_when_who_asked_is_killed_so_is_the_program(project, tmp_path):
    (project / "began").unlink(missing_ok=True)
    code = f"""
import os
from pathlib import Path
from everloop.engine.forks.programs import Program, run
from everloop.engine.here import environment
run(Program("waits", [], environment(os.environ), Path({str(project)!r}), "test", packages=["numpy"]))
"""
    asker = subprocess.Popen([sys.executable, "-c", code])
    waited_for((project / "began").exists)
    waited_for(lambda: (project / "began").read_text())
    asker.kill()
    asker.wait()
    waited_for(lambda: gone(int((project / "began").read_text())))


def test_after_a_server_is_killed_another_one_is_begun(project):
    before = told(project, "0", purpose="killed")["parent"]
    os.kill(before, signal.SIGKILL)
    waited_for(lambda: gone(before))
    after = told(project, "0", purpose="killed")
    assert after["parent"] not in (before, os.getpid())
    assert after["loaded"]


def test_where_a_library_begins_threads_programs_are_begun_from_nothing(project):
    found = told(project, "0", OPENBLAS_NUM_THREADS="2")  # numpy's begin when it is imported
    several = (os.cpu_count() or 1) > 1
    assert (found["parent"] == os.getpid()) == several


def test_what_a_process_begins_finds_its_servers(project, monkeypatch):
    usual = told(project, "0")["parent"]
    (project / "asks.py").write_text(
        "import os, sys\n"
        "from pathlib import Path\n"
        "from everloop.engine.forks.programs import Program, run\n"
        "from everloop.engine.here import environment\n"
        f"there = Path({str(project)!r})\n"
        "done = run(Program('tells', ['0'], environment(os.environ), there, 'test', packages=['numpy']))\n"
        "print(done.out.decode())\n"
    )
    from_within = json.loads(run(program(project, "asks")).out)
    assert from_within["parent"] == usual
    assert asking.FOLDER not in os.environ


def waited_for(condition, seconds=60.0):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def gone(pid: int) -> bool:
    """Whether a process is no more, or only waits to be looked at by its parent."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_what_is_no_request_leaves_no_descriptor_open():
    asker, server = socket.socketpair()
    with asker, server, open(os.devnull) as stream:
        before = sorted(os.listdir("/proc/self/fd"))
        socket.send_fds(asker, [(4).to_bytes(4, "big")], [stream.fileno()] * 3)
        asker.sendall(b"\xc1\xc1\xc1\xc1")
        assert receive_request(server) is None
        socket.send_fds(asker, [(4).to_bytes(4, "big")], [stream.fileno()] * 3)
        server.settimeout(0.001)
        with pytest.raises(TimeoutError):  # nothing follows
            receive_request(server)
        assert sorted(os.listdir("/proc/self/fd")) == before
