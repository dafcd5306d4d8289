"""Handles on named things of the ambient workspace: what `ev.data(...)` and its like return."""

from __future__ import annotations

from typing import TYPE_CHECKING

from everloop.client.ambient import workspace

if TYPE_CHECKING:
    from everloop.data.dataset import Dataset
    from everloop.registry.version import ModelVersion


def data(reference: str) -> Dataset:
    """A dataset version to read: ``ev.data("flights@v3")``; the newest when no version is named."""
    handle: Dataset = workspace().data.dataset(reference)
    return handle


def model(reference: str) -> ModelVersion:
    """A registered model to answer with: ``ev.model("delay@champion")``; the newest version when none is named."""
    handle: ModelVersion = workspace().registry.model(reference)
    return handle
