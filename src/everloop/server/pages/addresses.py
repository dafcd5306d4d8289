"""The address of a page holds its state: this reads it, and writes the address of the same page in another state."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from urllib.parse import parse_qsl, quote, urlencode

from starlette.requests import Request

Change = str | int | Sequence[str] | None


class Address:
    """A path and its query.

    >>> here = Address("/runs", [("where", "metrics.rmse < 1"), ("column", "params.alpha"), ("column", "metrics.rmse")])
    >>> here.but({"where": None, "sort": "metrics.rmse"})
    '/runs?column=params.alpha&column=metrics.rmse&sort=metrics.rmse'
    >>> here.get("where"), here.all("column"), here.get("sort", "start_time desc")
    ('metrics.rmse < 1', ['params.alpha', 'metrics.rmse'], 'start_time desc')
    """

    def __init__(self, path: str, pairs: Iterable[tuple[str, str]] = ()) -> None:
        self.path = path
        self.pairs = [(name, value) for name, value in pairs if value != ""]

    @classmethod
    def of(cls, request: Request) -> Address:
        return cls(quote(request.url.path, safe="/@:"), request.query_params.multi_items())

    @classmethod
    def within(cls, path: str, query: str) -> Address:
        """A query that a form brought along, on a path of ours: whatever it holds, it cannot lead elsewhere."""
        return cls(path, parse_qsl(query[:10_000]))

    @property
    def query(self) -> str:
        return urlencode(self.pairs)

    def __str__(self) -> str:
        return f"{self.path}?{self.query}" if self.pairs else self.path

    def get(self, name: str, default: str = "") -> str:
        return next((value for key, value in self.pairs if key == name), default)

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.pairs if key == name]

    def number(self, name: str, default: int = 0, *, most: int = 10**9) -> int:
        """A whole number from the address; what is none counts as the default."""
        text = self.get(name)
        return min(int(text), most) if text.isascii() and text.isdigit() and len(text) < 10 else default

    def choice(self, name: str, known: Sequence[str]) -> str:
        """One of a few words; the first of them when the address has another one."""
        value = self.get(name)
        return value if value in known else known[0]

    def but(self, changes: dict[str, Change], path: str = "") -> str:
        """The same address with some of its query changed; None takes a part out."""
        kept = [(name, value) for name, value in self.pairs if name not in changes]
        for name, value in changes.items():
            values = [] if value is None else [value] if isinstance(value, str | int) else value
            kept += [(name, str(each)) for each in values]
        return str(Address(path or self.path, kept))
