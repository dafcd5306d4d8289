"""What the machine did while a run ran: processor, memory, disk, network and, where there is one, the graphics card.

Measured every `SECONDS` by the thread that sends the journal, from the end of the first interval on, so a short run has none.
Names and units are those that MLflow gives its system metrics; all begin with ``system/``. EVERLOOP_SYSTEM_METRICS=0 turns them
off, another number is the interval in seconds.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from everloop.domain.runs import OF_THE_MACHINE

SECONDS = 15.0
SETTING = "EVERLOOP_SYSTEM_METRICS"
PREFIX = OF_THE_MACHINE
_MEGABYTE = 1e6
_NVIDIA_SECONDS = 5


def interval(environment: Mapping[str, str] = os.environ) -> float:
    """Seconds between two measurements; 0 for none.

    >>> interval({}), interval({"EVERLOOP_SYSTEM_METRICS": "0"}), interval({"EVERLOOP_SYSTEM_METRICS": "off"})
    (15.0, 0.0, 0.0)
    """
    given = environment.get(SETTING, "").strip().lower()
    if not given or given in ("on", "true", "yes"):
        return SECONDS
    try:
        return max(0.0, float(given))
    except ValueError:
        return 0.0


class Machine:
    """Measures at most once in an interval. `log` takes the measurements by name."""

    def __init__(
        self,
        log: Callable[[dict[str, float]], None],
        every: float,
        *,
        folder: Path,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log, self._every, self._folder, self._timer = log, every, folder, timer
        self._next = timer() + every
        self._ready = False

    def measure(self) -> None:
        """Measure and log, if the interval is over. The first call says from where on."""
        if not self._ready:
            self._prepare()
        elif self._timer() >= self._next:
            self._next = self._timer() + self._every
            self._log({PREFIX + name: value for name, value in self._measured().items()})

    def _prepare(self) -> None:
        """By the thread that measures, and not while the run starts: most runs are over before the first interval is."""
        import psutil

        self._psutil, self._process, self._graphics = psutil, psutil.Process(), _graphics()
        self._before = self._network()
        psutil.cpu_percent()  # the first call of each says nothing but where the next one begins
        self._process.cpu_percent()
        self._ready = True

    def _measured(self) -> dict[str, float]:
        psutil = self._psutil
        memory, disk = psutil.virtual_memory(), psutil.disk_usage(str(self._folder))
        before, self._before = self._before, self._network()
        return {
            "cpu_utilization_percentage": psutil.cpu_percent(),
            "system_memory_usage_megabytes": memory.used / _MEGABYTE,
            "system_memory_usage_percentage": memory.percent,
            "process_cpu_percentage": self._process.cpu_percent(),
            "process_memory_megabytes": self._process.memory_info().rss / _MEGABYTE,
            "disk_usage_megabytes": disk.used / _MEGABYTE,
            "disk_usage_percentage": disk.percent,
            "disk_available_megabytes": disk.free / _MEGABYTE,
            "network_receive_megabytes": (self._before[0] - before[0]) / _MEGABYTE,
            "network_transmit_megabytes": (self._before[1] - before[1]) / _MEGABYTE,
        } | self._graphics()

    def _network(self) -> tuple[int, int]:
        counted = self._psutil.net_io_counters()
        return (counted.bytes_recv, counted.bytes_sent) if counted is not None else (0, 0)


def _graphics() -> Callable[[], dict[str, float]]:
    """What measures the cards of this machine: NVIDIA's library, or else its program; without either, nothing."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # noqa: BLE001 (not installed, no driver, no card: the library has errors of its own for each)
        program = shutil.which("nvidia-smi")
        return (lambda: _asked(program)) if program else dict
    handles = [pynvml.nvmlDeviceGetHandleByIndex(number) for number in range(pynvml.nvmlDeviceGetCount())]
    return lambda: _read(pynvml, handles)


def _read(library: Any, handles: list[Any]) -> dict[str, float]:
    found: dict[str, float] = {}
    for number, handle in enumerate(handles):
        memory = library.nvmlDeviceGetMemoryInfo(handle)
        found |= _card(
            number,
            library.nvmlDeviceGetUtilizationRates(handle).gpu,
            memory.used / _MEGABYTE,
            memory.total / _MEGABYTE,
            library.nvmlDeviceGetPowerUsage(handle) / 1000,
        )
    return found


def _asked(program: str) -> dict[str, float]:
    fields = "index,utilization.gpu,memory.used,memory.total,power.draw"
    command = [program, f"--query-gpu={fields}", "--format=csv,noheader,nounits"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_NVIDIA_SECONDS, check=False)
    return cards(done.stdout)


def cards(answer: str) -> dict[str, float]:
    """The measurements in an answer of ``nvidia-smi``; what a card does not say is left out. Its memory is in MiB.

    >>> cards("0, 35, 1000, 8000, [N/A]")
    {'gpu_0_utilization_percentage': 35.0, 'gpu_0_memory_usage_megabytes': 1048.576, 'gpu_0_memory_usage_percentage': 12.5}
    """
    found: dict[str, float] = {}
    for line in answer.splitlines():
        index, *rest = (_number(each) for each in line.split(","))
        if index is not None and len(rest) == 4:
            use, used, total, power = rest
            mebibyte = 1024 * 1024 / _MEGABYTE
            found |= _card(int(index), use, used and used * mebibyte, total and total * mebibyte, power)
    return found


def _card(
    number: int, use: float | None, used: float | None, total: float | None, power: float | None
) -> dict[str, float]:
    share = 100 * used / total if used is not None and total else None
    values = {
        "utilization_percentage": use,
        "memory_usage_megabytes": used,
        "memory_usage_percentage": share,
        "power_usage_watts": power,
    }
    return {f"gpu_{number}_{name}": float(value) for name, value in values.items() if value is not None}


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
