"""Runs the checks of `tests/wire/mlflow` in the environments of unmodified MLflow clients: ``make mlflow-clients``."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CHECKS = ROOT / "tests" / "wire" / "mlflow"
CLIENTS = (
    "mlflow3",
    pytest.param("mlflow2", marks=pytest.mark.slow),  # 33 s: all checks once more, as the older client speaks
)


def run_checks(client: str, url: str, *names: str, timeout: float = 280, **environment: str) -> str:
    """Run ``check_NAME.py`` for each name with a client against the server at `url`; returns what pytest said. `environment`:
    further variables, such as credentials."""
    python = ROOT / f".venv-{client}" / "bin" / "python"
    if not python.exists():
        if os.environ.get("CI"):
            pytest.fail(f"{python} is missing: make mlflow-clients")
        pytest.skip(f"no {client} client: make mlflow-clients")
    command = [
        python,
        "-m",
        "pytest",
        "-c",
        CHECKS / "pytest.ini",
        "--rootdir",
        CHECKS,
        "--confcutdir",
        CHECKS,
    ]
    command += ["-q", "-p", "no:cacheprovider", *(CHECKS / f"check_{name}.py" for name in names)]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    settings = {
        "MLFLOW_TRACKING_URI": url,
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "DO_NOT_TRACK": "true",
        "MPLBACKEND": "agg",
        "GIT_PYTHON_REFRESH": "quiet",
        "PYTHONPATH": "",
    }
    done = subprocess.run(
        [str(part) for part in command],
        env=inherited | settings | environment,
        cwd=CHECKS,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, f"{client} {names}:\n{done.stdout[-20_000:]}\n{done.stderr[-5_000:]}"
    return done.stdout
