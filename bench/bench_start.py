"""How long starting takes: the bare interpreter, `import everloop`, `everloop --help`, `everloop --version`.

Prints the median and the fastest of a number of fresh processes, in milliseconds, and how many modules were loaded.
Goals: import 150 ms, help 200 ms.
"""

import statistics
import subprocess
import sys
import time

ROUNDS = 15
CASES = {
    "bare interpreter": ["-c", "pass"],
    "import everloop": ["-c", "import everloop"],
    "everloop --help": ["-m", "everloop", "--help"],
    "everloop --version": ["-m", "everloop", "--version"],
}


def milliseconds(arguments: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - start) * 1000


def modules(arguments: list[str]) -> int:
    listing = subprocess.run(
        [sys.executable, "-X", "importtime", *arguments], check=True, capture_output=True, text=True
    )
    return listing.stderr.count("import time:") - 1


def main() -> None:
    print(f"{'':20} {'median':>8} {'fastest':>8} {'modules':>8}")
    for name, arguments in CASES.items():
        milliseconds(arguments)
        times = [milliseconds(arguments) for _ in range(ROUNDS)]
        print(f"{name:20} {statistics.median(times):8.0f} {min(times):8.0f} {modules(arguments):8}")


if __name__ == "__main__":
    main()
