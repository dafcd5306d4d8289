"""The search language: what people type into `runs list --where`, parsed, and evaluated the plain way.

    metrics.rmse < 1 and params.model = "tree"
    (params.lr > 0.01 or tags.stage in ('dev', 'test')) and not status = 'failed'
    min(metrics.loss) < .1 and start_time > '2026-01-31' and data = 'flights@v3'
    metrics.val_loss - metrics.loss < .1 * metrics.loss

    filter     := and ("or" and)*            and := not ("and" not)*            not := "not" not | "(" filter ")" | test
    test       := field operator value | field ["not"] "in" "(" value, … ")" | field "is" ["not"] "null"
                | sum (= | != | > | >= | < | <=) sum                         "<>" is another way to write "!="
    operator   := = | != | > | >= | < | <= | [not] like | [not] ilike | [not] rlike
    sum        := product (("+" | "-") product)*      product := factor (("*" | "/") factor)*
    factor     := number | "inf" | metric | param | "-" factor | "(" sum ")"
    field      := [entity "."] key | ("first" | "last" | "min" | "max" | "mean" | "count") "(" metric ")"
    entity     := metric(s) | param(s), parameter(s) | tag(s) | dataset(s) | attribute(s), attr, run
                                                                            none: an attribute, data, model or feature
    value      := number | 'text' | "text"                         a quote within a text is doubled: 'it''s'

It is a superset of MLflow's: every filter that MLflow takes means the same here. Keywords are written in any case; keys that
are not plain words are put in double quotes or backticks. A test of something that a run does not have is false, so
``!=`` does not find runs without the key (``is null`` does), and ``not`` turns it round. NaN is only ever ``!=``:
``metrics.x != metrics.x`` finds it. ``like`` heeds case; ``ilike`` does not, for the letters A to Z; ``rlike`` looks for
a regular expression (`patterns`). Numbers that are reckoned
with lie between 1e-60 and 1e60: what is smaller is 0, and what is larger, infinite or divided by 0 is NaN.

One grammar serves all that is searched; `Fields` says what each kind of thing has (`RUNS`, `EXPERIMENTS`,
`REGISTERED_MODELS`, `MODEL_VERSIONS`, `LOGGED_MODELS`, `TRACES`). `tracking.conditions` compiles the same tree to SQL, and a
property test compares the two.
"""

from everloop.domain.search.fields import (
    AGGREGATES,
    EXPERIMENTS,
    LINEAGE,
    LOGGED_MODELS,
    MODEL_VERSIONS,
    REGISTERED_MODELS,
    RUNS,
    TEXT_ATTRIBUTES,
    TIME_ATTRIBUTES,
    TRACES,
    Fields,
)
from everloop.domain.search.meaning import Searchable, fold, like, matches
from everloop.domain.search.parser import parse_filter, parse_order, quoted
from everloop.domain.search.tree import (
    And,
    Arithmetic,
    Compare,
    Field,
    IsNull,
    Node,
    Not,
    OneOf,
    Operand,
    Or,
    Order,
    Relation,
    fields_of,
)

__all__ = [
    "AGGREGATES",
    "EXPERIMENTS",
    "LINEAGE",
    "LOGGED_MODELS",
    "MODEL_VERSIONS",
    "REGISTERED_MODELS",
    "RUNS",
    "TEXT_ATTRIBUTES",
    "TIME_ATTRIBUTES",
    "TRACES",
    "And",
    "Arithmetic",
    "Compare",
    "Field",
    "Fields",
    "IsNull",
    "Node",
    "Not",
    "OneOf",
    "Operand",
    "Or",
    "Order",
    "Relation",
    "Searchable",
    "fields_of",
    "fold",
    "like",
    "matches",
    "parse_filter",
    "parse_order",
    "quoted",
]
