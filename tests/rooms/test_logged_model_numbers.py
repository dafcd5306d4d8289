"""A ledger from before parameters of logged models were kept as numbers too."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import alembic.command
import alembic.config
import sqlalchemy as sa

from everloop.domain.ids import system_ids
from everloop.domain.times import system_clock
from everloop.store.ledger import versions
from everloop.store.ledger.engines import make_engine
from everloop.store.schema.logged_models import logged_model_params


def test_its_parameters_are_numbers_after_the_migration(tmp_path: Path) -> None:
    engine = make_engine(f"sqlite:///{tmp_path}/ledger.db")
    config = alembic.config.Config()
    config.set_main_option("script_location", str(Path(versions.__file__).parent.parent / "migrations"))
    written = {"lr": "1e-3", "depth": "4", "again": "4", "kind": "tree", "odd": "nan"}
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        alembic.command.upgrade(config, "0010")
    with sqlite3.connect(
        tmp_path / "ledger.db"
    ) as raw:  # which knows no foreign keys: the model need not be there
        raw.executemany(
            "insert into logged_model_params (model, key, value) values ('m-1', ?, ?)", written.items()
        )
    versions.migrate(engine, "0010", system_clock, system_ids(system_clock))
    with engine.connect() as connection:
        found = dict(
            map(tuple, connection.execute(sa.select(logged_model_params.c.key, logged_model_params.c.number)))
        )
    assert found == {"lr": 0.001, "depth": 4.0, "again": 4.0, "kind": None, "odd": None}
