"""Reads YAML as plain values, as other tools' files are written: MLflow's ``MLmodel`` and ``meta.yaml``."""

from typing import Any

from everloop.errors import InvalidInput

DEEPEST = 100
"""How far collections may be nested: values are built as deep as they are, and a stranger's file must not overflow the stack."""
LARGEST = 1_000_000
"""How many values a document may hold, each alias counted as what it stands for: a few lines can stand for billions."""


def read_yaml(text: str) -> Any:
    """The one document in a text, as mappings, lists, text, numbers, booleans and None. What looks like a time stays text.
    Raises InvalidInput, with the line, for what is no YAML or more than plain values.

    >>> read_yaml("flavors:\\n  sklearn: {}\\n  names: [a, {b: 1.5}]\\nsaid: 'it''s\\n  so'\\nat: 2026-11-22\\n")
    {'flavors': {'sklearn': {}, 'names': ['a', {'b': 1.5}]}, 'said': "it's so", 'at': '2026-11-22'}
    >>> read_yaml("a: !!python/object:os.system x")
    Traceback (most recent call last):
    everloop.errors.InvalidInput: line 1 is not plain YAML: could not determine a constructor for the tag ...
    """
    import yaml

    try:
        _look_through(text)
        loader = yaml.CSafeLoader(text)
        try:
            loader.yaml_implicit_resolvers = {
                first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
                for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
            }
            return loader.get_single_data()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise _wrong(mark, str(error.problem or error.context)) from None
    except (yaml.YAMLError, ValueError) as error:
        raise _wrong(None, str(error).partition("\n")[0]) from None


def _look_through(text: str) -> None:
    """Refuse what is nested too deeply, contains itself, or grows too large, before anything is built of it."""
    import yaml

    whole = 0
    sizes: dict[str, int] = {}
    opened: list[tuple[str | None, int]] = []  # each collection's anchor, and how many values came before it
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            opened.append((event.anchor, whole))
            whole += 1
            if len(opened) > DEEPEST:
                raise _wrong(event.start_mark, f"it is nested more than {DEEPEST} levels deep")
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = opened.pop()
            if anchor is not None:
                sizes[anchor] = whole - before
        elif isinstance(event, yaml.AliasEvent):
            if any(anchor == event.anchor for anchor, _ in opened):
                raise _wrong(event.start_mark, "it contains itself")
            whole += sizes.get(event.anchor, 1)
        elif isinstance(event, yaml.ScalarEvent):
            whole += 1
        if whole > LARGEST:
            raise _wrong(event.start_mark, f"it holds more than {LARGEST:,} values")


def _wrong(mark: Any, said: str) -> InvalidInput:
    line = mark.line + 1 if mark is not None else 1
    return InvalidInput(f"line {line} is not plain YAML: {said}")
