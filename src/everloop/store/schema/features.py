"""Tables of the features room. The declarations themselves are definitions of kind ``feature``."""

import sqlalchemy as sa

from everloop.store.schema.base import Json, Moment, Ref, metadata

materializations = sa.Table(
    "materializations",
    metadata,
    sa.Column("reference", Ref, primary_key=True),
    sa.Column("until", Moment, nullable=False),
    sa.Column("entities", sa.BigInteger, nullable=False),
    sa.Column("sources", Json, nullable=False),
    sa.Column("time", Moment, nullable=False),
    sa.Column("user", sa.Text, nullable=False),
    comment="What the online store holds of each view version.",
)
