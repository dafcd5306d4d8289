"""The online store on a Redis (or Valkey) that several machines share: ``online = "redis://host:6379/0"`` in everloop.toml.

    {everloop:NAME}:views             references of all view versions
    {everloop:NAME}:versions:VIEW     a view's references by version
    {everloop:NAME}:view:REFERENCE    generation, staging, mirrored, layout, until
    {everloop:NAME}:rows:GENERATION   key -> order and values

Filling writes a new generation of rows beside the one that answers and then exchanges the two; what is pushed meanwhile goes into
both, so nothing is lost. What a killed filling leaves behind is removed by the next one. A row begins with its event time and
availability in 32 hexadecimal digits that sort as the times do, so that the scripts on the server can compare rows. NAME is the
workspace's, so several may share a server; the braces keep its keys in one slot of a cluster.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec

from everloop.domain.references import Kind, Reference
from everloop.errors import Conflict, InvalidInput, MissingExtra, StorageError, Unavailable
from everloop.features.online.contract import (
    KEYS_AT_ONCE,
    NEVER,
    Answered,
    Changed,
    Found,
    Held,
    Layout,
    Packed,
    Wanted,
    changes,
    later_than,
    not_stored,
    other_types,
)

PASSWORD = "EVERLOOP_ONLINE_PASSWORD"
TIMEOUT = 5.0
"""Seconds after which a server that says nothing counts as away."""
ATTEMPTS = 10
"""How often a reader looks again when what it knew of a view is exchanged under it."""

_BEGIN = """
local view, rows, staging, layout = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local left = redis.call('HGET', view, 'staging')
if left then redis.call('UNLINK', rows .. left) end
local old = redis.call('HGET', view, 'generation')
local same = old and redis.call('HGET', view, 'layout') == layout
if same then redis.call('COPY', rows .. old, rows .. staging) end
redis.call('HSET', view, 'staging', staging, 'mirrored', same and '1' or '0')
"""
"""Begin a generation: with the rows that answer now, unless these are packed otherwise."""

_FILL = """
local rows, until_ = KEYS[1], ARGV[1]
for i = 2, #ARGV, 2 do
  local key, row = ARGV[i], ARGV[i + 1]
  local was = redis.call('HGET', rows, key)
  if not was or (string.sub(was, 1, 16) <= until_ and string.sub(was, 17, 32) <= until_) then
    if row == '' then redis.call('HDEL', rows, key) else redis.call('HSET', rows, key, row) end
  end
end
"""
"""Write and remove rows, but for those that became known after the moment of the filling."""

_EXCHANGE = """
local view, versions, views = KEYS[1], KEYS[2], KEYS[3]
local rows, staging, layout, until_, version, reference = unpack(ARGV)
if redis.call('HGET', view, 'staging') ~= staging then return 0 end
local old = redis.call('HGET', view, 'generation')
if old then redis.call('UNLINK', rows .. old) end
redis.call('HSET', view, 'generation', staging, 'layout', layout, 'until', until_)
redis.call('HDEL', view, 'staging', 'mirrored')
redis.call('ZADD', versions, version, reference)
redis.call('SADD', views, reference)
return 1
"""
"""A generation that was filled answers from now on, unless another filling has begun since."""

_PUT = """
local view, versions, views = KEYS[1], KEYS[2], KEYS[3]
local rows, fresh, layout, never, version, reference = unpack(ARGV, 1, 6)
local generation = redis.call('HGET', view, 'generation')
if not generation then
  generation = fresh
  redis.call('HSET', view, 'generation', fresh, 'layout', layout, 'until', never)
  redis.call('ZADD', versions, version, reference)
  redis.call('SADD', views, reference)
elseif redis.call('HGET', view, 'layout') ~= layout then
  return -1
end
local into = {rows .. generation}
if redis.call('HGET', view, 'mirrored') == '1' then into[2] = rows .. redis.call('HGET', view, 'staging') end
local written = 0
for i = 7, #ARGV, 2 do
  local key, row = ARGV[i], ARGV[i + 1]
  for place, hash in ipairs(into) do
    local was = redis.call('HGET', hash, key)
    if not was or (string.sub(row, 1, 32) >= string.sub(was, 1, 32) and row ~= was) then
      redis.call('HSET', hash, key, row)
      if place == 1 then written = written + 1 end
    end
  end
end
return written
"""
"""Rows that were pushed: into the generation that answers, and into the one that is being filled."""


class RedisOnlineStore:
    """An `OnlineStore` on a Redis server. name: of the workspace. A password comes from ``EVERLOOP_ONLINE_PASSWORD``."""

    def __init__(self, url: str, name: str) -> None:
        self._redis, self._where = _connect(url)
        self._prefix = f"{{everloop:{name}}}:"
        self._seen: dict[str, tuple[str, Held]] = {}
        """By reference: the generation that answered last, and the view. A guess, which every answer confirms or corrects."""
        self._newest: dict[str, str] = {}
        self._begin, self._fill, self._exchange, self._put = (
            self._redis.register_script(each) for each in (_BEGIN, _FILL, _EXCHANGE, _PUT)
        )

    def fill(self, view: Held, rows: Sequence[Packed], *, complete: bool = True) -> Changed:
        with self._errors():
            known = self._stored(view.reference)
            if known is not None and known[1].until > view.until:
                raise later_than(known[1], view.until)
            staging, layout = secrets.token_hex(8), msgspec.msgpack.encode(view.layout)
            here, prefix = self._view(view.reference), self._rows("")
            self._begin(keys=[here], args=[prefix, staging, layout])
            stored = dict(self._scan(staging))
            written, gone = changes(view, stored, rows, complete)
            pairs = [(row.key, _encoded(row)) for row in written] + [(key, b"") for key in gone]
            pipe = self._redis.pipeline(transaction=False)
            for some in _batches(pairs):
                flat = [part for pair in some for part in pair]
                self._fill(keys=[self._rows(staging)], args=[_sortable(view.until), *flat], client=pipe)
            pipe.execute()
            facts = [prefix, staging, layout, view.until, view.version, view.reference]
            if not self._exchange(keys=self._keys(view), args=facts):
                self._redis.unlink(self._rows(staging))
                raise Conflict(
                    f"{view.reference} is being materialized by somebody else too", hint="try again"
                )
            entities = int(self._redis.hlen(self._rows(staging)))
        return Changed(len(written), len(gone), entities)

    def put(self, view: Held, rows: Sequence[Packed]) -> int:
        layout = msgspec.msgpack.encode(view.layout)
        facts = [self._rows(""), secrets.token_hex(8), layout, NEVER, view.version, view.reference]
        written = 0
        with self._errors():
            for some in _batches(rows):
                flat = [part for row in some for part in (row.key, _encoded(row))]
                done = int(self._put(keys=self._keys(view), args=[*facts, *flat]))
                if done < 0:
                    raise other_types(view)
                written += done
        return written

    def read(self, wanted: Sequence[Wanted]) -> list[Answered]:
        with self._errors():
            for _ in range(ATTEMPTS):
                answered = self._try(wanted)
                if answered is not None:
                    return answered
        raise Unavailable("the online store is changing all the time", hint="try again")

    def read_one(
        self, name: str, version: int | None, key: Callable[[Layout], bytes]
    ) -> tuple[Held, Found | None]:
        [answered] = self.read([Wanted(name, version, lambda layout: [key(layout)])])
        return answered.held, answered.rows[0]

    def held(self) -> list[Held]:
        with self._errors():
            references = sorted(each.decode() for each in self._redis.smembers(f"{self._prefix}views"))
            found = [self._stored(each) for each in references]
        return [each[1] for each in found if each is not None]

    def drop(self, reference: str) -> bool:
        with self._errors():
            known = self._redis.hmget(self._view(reference), "generation", "staging")
            name = Reference.parse(reference, Kind.FEATURE).name
            pipe = self._redis.pipeline(transaction=True)
            pipe.zrem(f"{self._prefix}versions:{name}", reference)
            pipe.srem(f"{self._prefix}views", reference)
            keys = [self._rows(each.decode()) for each in known if each is not None]
            pipe.unlink(self._view(reference), *keys)
            pipe.execute()
        return known[0] is not None

    # Reading

    def _try(self, wanted: Sequence[Wanted]) -> list[Answered] | None:
        """Everything in one round trip and as of one moment; None when a view is not as it was last time."""
        guesses = [self._guess(each) for each in wanted]
        pipe = self._redis.pipeline(transaction=True)
        asked = []
        for each, (reference, generation, held) in zip(wanted, guesses, strict=True):
            keys = each.keys(held.layout)
            asked.append(len(keys))
            pipe.zrevrange(f"{self._prefix}versions:{each.name}", 0, 0)
            pipe.hmget(self._view(reference), "generation", "until")
            if keys:
                pipe.hmget(self._rows(generation), keys)
        answers = iter(pipe.execute())
        found, stale = [], False
        for each, count, (reference, generation, held) in zip(wanted, asked, guesses, strict=True):
            newest, (now, until) = next(answers), next(answers)
            rows = next(answers) if count else []
            if now != generation.encode() or (each.version is None and newest != [reference.encode()]):
                self._seen.pop(reference, None)
                self._newest.pop(each.name, None)
                stale = True
                continue
            if int(until) != held.until:
                held = msgspec.structs.replace(held, until=int(until))
            found.append(Answered(held, [None if row is None else _decoded(row) for row in rows]))
        return None if stale else found

    def _guess(self, wanted: Wanted) -> tuple[str, str, Held]:
        if wanted.version is not None:
            reference: str | None = str(Reference(Kind.FEATURE, wanted.name, wanted.version))
        else:
            reference = self._newest.get(wanted.name)
            if reference is None:
                newest = self._redis.zrevrange(f"{self._prefix}versions:{wanted.name}", 0, 0)
                reference = newest[0].decode() if newest else None
        known = None
        if reference is not None:
            known = self._seen.get(reference) or self._stored(reference)
        if known is None or reference is None:
            views = [each.decode() for each in self._redis.smembers(f"{self._prefix}views")]
            names = {Reference.parse(each, Kind.FEATURE).name for each in views}
            raise not_stored(wanted.name, wanted.version, sorted(names))
        self._seen[reference] = known
        if wanted.version is None:
            self._newest[wanted.name] = reference
        return reference, *known

    def _stored(self, reference: str) -> tuple[str, Held] | None:
        found = self._redis.hmget(self._view(reference), "generation", "layout", "until")
        if found[0] is None:
            return None
        named = Reference.parse(reference, Kind.FEATURE)
        assert named.version is not None
        layout = msgspec.msgpack.decode(found[1], type=Layout)
        return found[0].decode(), Held(reference, named.name, named.version, layout, int(found[2]))

    def _scan(self, generation: str) -> Iterator[tuple[bytes, Found]]:
        for key, row in self._redis.hscan_iter(self._rows(generation), count=5_000):
            yield key, _decoded(row)

    # Names

    def _view(self, reference: str) -> str:
        return f"{self._prefix}view:{reference}"

    def _rows(self, generation: str) -> str:
        return f"{self._prefix}rows:{generation}"

    def _keys(self, view: Held) -> list[str]:
        return [self._view(view.reference), f"{self._prefix}versions:{view.name}", f"{self._prefix}views"]

    @contextmanager
    def _errors(self) -> Iterator[None]:
        import redis

        try:
            yield
        except redis.AuthenticationError:
            raise InvalidInput(
                f"the online store {self._where} asks for another password", hint=f"set {PASSWORD}"
            ) from None
        except (redis.ConnectionError, redis.TimeoutError) as error:
            reason = str(error).rstrip(".")
            raise Unavailable(
                f"the online store {self._where} cannot be reached: {reason}",
                hint="is it running? 'online' in everloop.toml says where it is",
            ) from None
        except redis.RedisError as error:
            raise StorageError(f"the online store {self._where}: {error}") from None


def _connect(url: str) -> tuple[Any, str]:
    """A client (whose own types know no difference between waiting and not), and the address without secrets."""
    try:
        import redis
    except ImportError:
        raise MissingExtra(
            "an online store on Redis needs the extra 'redis'", hint="pip install 'everloop[redis]'"
        ) from None
    options: dict[str, Any] = {"socket_timeout": TIMEOUT, "socket_connect_timeout": TIMEOUT}
    if os.environ.get(PASSWORD):
        options["password"] = os.environ[PASSWORD]
    try:
        client = redis.Redis.from_url(url, **options)
    except ValueError as error:
        raise InvalidInput(
            f"online = {url!r} in everloop.toml is no address: {error}",
            hint="such as redis://localhost:6379/0",
        ) from None
    return client, url.rpartition("@")[2]


def _sortable(micros: int) -> str:
    """A time as 16 hexadecimal digits that sort as times do.

    >>> _sortable(-1) < _sortable(0) < _sortable(1), len(_sortable(-(2**63)))
    (True, 16)
    """
    return f"{micros + (1 << 63):016x}"


def _encoded(row: Packed) -> bytes:
    return f"{_sortable(row.event)}{_sortable(row.created)}".encode() + row.values


def _decoded(row: bytes) -> Found:
    return Found(int(row[:16], 16) - (1 << 63), int(row[16:32], 16) - (1 << 63), row[32:])


def _batches(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (items[start : start + KEYS_AT_ONCE] for start in range(0, len(items), KEYS_AT_ONCE))
