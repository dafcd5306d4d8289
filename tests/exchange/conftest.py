"""Stores that real clients wrote, unpacked; see `stores/make.py`."""

import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

STORES = Path(__file__).parent / "stores"


@pytest.fixture
def unpacked(tmp_path: Path) -> Callable[[str], Path]:
    """Unpacks what a release of MLflow wrote, and says where."""

    def unpack(release: str) -> Path:
        folder = tmp_path / f"mlflow-{release}"
        if not folder.exists():
            with tarfile.open(STORES / f"mlflow-{release}.tar.xz") as packed:
                packed.extractall(folder, filter="data")
        return folder

    return unpack
