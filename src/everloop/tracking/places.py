"""Which process writes a run, and whether it is still there: how a killed run is told from a running one."""

import os
import platform
import sys
from datetime import datetime, timedelta
from functools import cache

from everloop.domain.runs import INTERRUPTED, KILLED, RUNNING, Owner

SILENCE = timedelta(minutes=10)
"""How long a process on another machine may be silent before its run counts as interrupted; it gives a sign every
`shipping.HEARTBEAT_SECONDS`."""
SILENCE_WITHOUT_OWNER = timedelta(days=1)
"""The same for runs whose writer gives no signs, such as clients of other protocols."""


def this_process() -> Owner:
    """The owner of runs started here."""
    return _process(os.getpid())


@cache
def place() -> str:
    """This machine and, on Linux, the namespace of its process numbers: two containers of one host are two places."""
    try:
        space = os.readlink("/proc/self/ns/pid")
    except OSError:
        space = ""
    return f"{platform.node()} {space}".strip()


def status_now(status: str, owner: Owner, heartbeat: datetime, now: datetime) -> str:
    """What a stored status means now: a run whose process has gone is `killed`, one not heard of for long `interrupted`."""
    if status != RUNNING:
        return status
    if owner.place == place():
        return RUNNING if is_alive(owner) else KILLED
    silence = SILENCE if owner.place else SILENCE_WITHOUT_OWNER
    return INTERRUPTED if now - heartbeat > silence else RUNNING


def is_alive(owner: Owner) -> bool:
    """Whether that very process of this place still runs. Process numbers are used again, so its start is compared too."""
    if owner.pid == os.getpid():
        return True
    import psutil

    try:
        process = psutil.Process(owner.pid)
        return abs(process.create_time() - owner.began) < 2.0 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:  # it is there, and somebody else's
        return True


@cache
def _process(pid: int) -> Owner:
    return Owner(place(), pid, _began())


def _began() -> float:
    """When this process began, in seconds since 1970: as psutil reckons it, whose import a short command would feel."""
    if sys.platform == "linux":
        with open("/proc/self/stat", "rb") as file:
            ticks = int(file.read().rpartition(b")")[2].split()[19])
        with open("/proc/stat", "rb") as file:
            booted = next(int(line.split()[1]) for line in file if line.startswith(b"btime"))
        return booted + ticks / os.sysconf("SC_CLK_TCK")
    import psutil

    return float(psutil.Process().create_time())
