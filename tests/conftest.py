"""What every test may rely on: no workspace of the developer leaks in; random examples repeat in CI."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = [
    "tests.support.workspaces",  # before those that import it
    "tests.support.s3",
    "tests.support.postgres",
    "tests.support.ray",
    "tests.support.longest_first",
]

# Two busy cores make single examples slow without anything being wrong, so no deadline is set.
settings.register_profile("dev", deadline=None, max_examples=25)  # make test-slow and make soak look further
settings.register_profile("ci", deadline=None, max_examples=25, derandomize=True, print_blob=True)
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.register_profile("slow", unhurried, max_examples=100, derandomize=bool(os.environ.get("CI")))
settings.register_profile("soak", unhurried, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "dev"))


@pytest.fixture(scope="session", autouse=True)
def memory_is_given_back(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Folders of tests that lie in memory, gigabytes in all, go with the session, unless a test failed."""
    yield
    folder = tmp_path_factory.getbasetemp()
    if not request.session.testsfailed and folder.is_relative_to(Path("/dev/shm")):
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(autouse=True)
def no_workspace_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test names its workspace; settings of the shell that started it must not reach it."""
    for name in [name for name in os.environ if name.startswith("EVERLOOP_")]:
        monkeypatch.delenv(name)
