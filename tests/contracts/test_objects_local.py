"""The object store in a folder: the contract, and what only a folder can go through."""

from pathlib import Path

import pytest
from tests.contracts.objects_contract import ContentStoreContract

from everloop.store.objects import LocalBucket


class TestLocal(ContentStoreContract):
    @pytest.fixture
    def bucket(self, tmp_path: Path) -> LocalBucket:
        return LocalBucket(tmp_path / "store")
