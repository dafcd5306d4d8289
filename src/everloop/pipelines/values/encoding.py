"""A whole value into the object store and back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from everloop.domain.pipelines import StoredValue
from everloop.errors import InvalidInput
from everloop.pipelines.values import plain
from everloop.pipelines.values.formats import format_called, format_for
from everloop.store.objects import Objects

INLINE = 8 * 1024
"""A tree of up to this many characters stays in the ledger; a longer one becomes an object."""

Special = Callable[[Any], Any]
"""Given a value that belongs to the workspace (a dataset handle, a reference to a result): its tree, or `NOT_SPECIAL`. None is
the tree of a step that returned nothing."""

NOT_SPECIAL: Any = object()


def encode(value: Any, objects: Objects, where: str, special: Special | None = None) -> StoredValue:
    """Store a value. Raises InvalidInput that names the place in the value that cannot be stored."""
    found: list[tuple[str, int]] = []
    types: set[str] = set()
    words: list[str] = []

    def lower(each: Any, place: str) -> Any:
        try:
            return plain.lower(each, lower, place, types)
        except plain.NotPlain:
            pass
        tree = special(each) if special is not None else NOT_SPECIAL
        if tree is not NOT_SPECIAL:
            return tree
        chosen = format_for(each, place)
        data, content, label = chosen.dump(each)
        stored = objects.put(data)
        found.append((stored.digest, stored.size))
        words.append(label)
        return {
            "~object": {
                "as": chosen.name,
                "content": content,
                "object": stored.digest,
                "size": stored.size,
                "words": label,
            }
        }

    try:
        tree = lower(value, where)
    except RecursionError:
        raise InvalidInput(
            f"{where} contains itself, or is nested too deeply", hint="return something flatter"
        ) from None
    return _stored(tree, objects, found, types)


def decode(
    stored: StoredValue, objects: Objects, special: Mapping[str, Callable[[Any], Any]] | None = None
) -> Any:
    """The value again: a new one at each call. `special` brings back what `encode`'s did, by tag."""

    def lift(tree: Any) -> Any:
        if isinstance(tree, list):
            return [lift(each) for each in tree]
        if not isinstance(tree, dict):
            return tree
        tag = next(iter(tree)) if len(tree) == 1 else ""
        if not tag.startswith("~"):
            return {key: lift(each) for key, each in tree.items()}
        if tag == "~object":
            return format_called(tree[tag]["as"]).load(objects.read(tree[tag]["object"]))
        if special is not None and tag in special:
            return special[tag](tree[tag])
        return plain.lift(tag, tree[tag], lift)

    return lift(tree_of(stored, objects))


def tree_of(stored: StoredValue, objects: Objects) -> Any:
    """The plain part of a stored value."""
    text = stored.tree.encode() if stored.tree else objects.read(stored.tree_object)
    return msgspec.json.decode(text)


def part_of(stored: StoredValue, key: Any, objects: Objects) -> StoredValue:
    """An element of a stored list, tuple or dict, without reading the rest. Raises InvalidInput when there is none."""
    tree = tree_of(stored, objects)
    body = _sequence(tree)
    if body is not None and isinstance(key, int):
        if not -len(body) <= key < len(body):
            raise InvalidInput(f"the result has {len(body)} elements, none has the number {key}")
        part = body[key]
    elif isinstance(tree, dict) and isinstance(key, str) and key in tree and not key.startswith("~"):
        part = tree[key]
    else:
        raise InvalidInput(
            f"the result ({stored.kind}) has no element {key!r}",
            hint="index what a step returns as list, tuple or dict",
        )
    return _stored(part, objects, _objects_in(part), set(stored.types))


def length_of(stored: StoredValue, objects: Objects) -> int | None:
    """How many elements a stored list or tuple has; None for other values."""
    body = _sequence(tree_of(stored, objects))
    return None if body is None else len(body)


def joined(parts: list[StoredValue], objects: Objects) -> StoredValue:
    """The list of some stored values."""
    trees = [tree_of(each, objects) for each in parts]
    types = {name for each in parts for name in each.types}
    return _stored(trees, objects, [held for each in parts for held in each.objects], types)


def leaves(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The innermost parts of a tree with their places, in order: what a comparison walks over."""
    if isinstance(tree, list):
        for number, each in enumerate(tree):
            yield from leaves(each, f"{path}[{number}]")
    elif isinstance(tree, dict) and not (len(tree) == 1 and next(iter(tree)).startswith("~")):
        for key in sorted(tree):
            yield from leaves(tree[key], f"{path}[{key!r}]")
    elif isinstance(tree, dict) and next(iter(tree)) == "~tuple":
        yield from leaves(tree["~tuple"], path)
    else:
        yield path, tree


def _stored(tree: Any, objects: Objects, found: list[tuple[str, int]], types: set[str]) -> StoredValue:
    try:
        text = msgspec.json.encode(tree)
    except (UnicodeEncodeError, TypeError) as error:
        raise InvalidInput(f"a result cannot be stored: {error}") from None
    held = dict.fromkeys(found)
    tree_object = ""
    if len(text) > INLINE:
        stored = objects.put(text)
        tree_object = stored.digest
        held[stored.digest, stored.size] = None
    return StoredValue(
        digest=plain.tree_digest(tree),
        tree="" if tree_object else text.decode(),
        tree_object=tree_object,
        objects=tuple(held),
        types=tuple(sorted(types)),
        kind=_words(tree),
    )


def is_sound(stored: StoredValue, objects: Objects) -> bool:
    """Whether a value that came from elsewhere has the digest that it says, and names all objects that it needs."""
    try:
        tree = tree_of(stored, objects)
        needs = {digest for digest, _ in _objects_in(tree)} | {stored.tree_object} - {""}
        named = {digest for digest, _ in stored.objects}
        return plain.tree_digest(tree) == stored.digest and needs <= named
    except (msgspec.MsgspecError, KeyError, TypeError):
        return False


def _objects_in(tree: Any) -> list[tuple[str, int]]:
    """Digest and size of each object of a tree, wherever it stands."""
    if isinstance(tree, dict):
        body = tree.get("~object")
        if body is not None:
            return [(body["object"], body["size"])]
        tree = list(tree.values())
    return [held for each in tree for held in _objects_in(each)] if isinstance(tree, list) else []


def _sequence(tree: Any) -> list[Any] | None:
    if isinstance(tree, list):
        return tree
    if isinstance(tree, dict) and list(tree) == ["~tuple"]:
        found: list[Any] = tree["~tuple"]
        return found
    return None


def _words(tree: Any) -> str:
    body = _sequence(tree)
    if body is not None:
        return f"{'list' if isinstance(tree, list) else 'tuple'} of {len(body)}"
    if isinstance(tree, dict):
        tag = next(iter(tree), "")
        if tag == "~object":
            return str(tree[tag]["words"])
        if tag in {"~struct", "~dataclass", "~enum"}:
            return str(tree[tag][0].rpartition(":")[2])
        if tag == "~file":
            return f"file {tree[tag][0]}"
        if tag == "~dataset":
            return str(tree[tag]["reference"])
        return f"dict of {len(tree)}" if not tag.startswith("~") else tag[1:]
    text = repr(tree)
    return text if len(text) <= 60 else text[:57] + "…"
