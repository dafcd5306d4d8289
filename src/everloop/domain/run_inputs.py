"""The datasets that runs say they used, as data."""

import msgspec


class LoggedDataset(msgspec.Struct, frozen=True):
    """A dataset as a run describes it. `digest` is what the describer computed, `source` says where it came from (`source_type`
    tells how to read that); `schema` and `profile` are its columns and counts, as JSON text; `context` is what it was used for.
    What it holds is not kept here: add it with ``everloop data add`` for that."""

    name: str
    digest: str
    source_type: str = ""
    source: str = ""
    schema: str = ""
    profile: str = ""
    context: str = ""
    tags: dict[str, str] = {}

    @property
    def rows(self) -> int | None:
        """How many rows its profile says it has, as Everloop and MLflow write it.

        >>> LoggedDataset("flights", "1", profile='{"num_rows": 331}').rows
        331
        >>> LoggedDataset("flights", "1", profile='{"features_shape": [331, 10]}').rows
        331
        """
        try:
            found = msgspec.json.decode(self.profile or "null", type=_Profile | None)
        except msgspec.MsgspecError:  # whoever logged it may say anything
            return None
        if found is None:
            return None
        return found.num_rows if found.num_rows is not None else next(iter(found.features_shape), None)


class UsedDataset(msgspec.Struct, frozen=True):
    """A dataset that runs of an experiment say they used, and for what."""

    experiment_id: int
    name: str
    digest: str
    context: str = ""


class _Profile(msgspec.Struct, frozen=True):
    num_rows: int | None = None
    features_shape: list[int] = []


MAX_DATASETS = 1_000
DATASET_LIMITS = {
    "name": 500,
    "digest": 36,
    "source": 65_535,
    "schema": 1_048_575,
    "profile": 16_777_215,
}
"""How long each text of a logged dataset may be."""
