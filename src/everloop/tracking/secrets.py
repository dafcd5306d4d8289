"""What must never be kept: values whose name says that they are secrets, and texts that look like keys.

Names are judged by patterns. A project adds its own, as in a shell, in the environment variable EVERLOOP_SECRETS:
``EVERLOOP_SECRETS="*_pin, license"``.
"""

import base64
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from urllib.parse import quote, quote_plus

MASK = "***"
OWN_PATTERNS = "EVERLOOP_SECRETS"

_SECRET = re.compile(
    r"(?i)(?:^|[^a-z])(?:api|access|secret|private|auth|signing|encryption)?[_\-.]?(?:key|keys|token|secret|password|passwd|pwd|passphrase|"
    r"credential|credentials|dsn|authorization|bearer|cookie|session[_\-.]?id)$"
)
_HARMLESS = re.compile(
    r"(?i)(?:^|[_\-])(?:sort|primary|foreign|join|entity|group|partition|row|index|cache|metric|label|pad|max|min|eos|bos)[_\-]?(?:key|keys|token)$"
)
_PLAIN_IN_PARAMS = re.compile(r"(?i)(?:^|\.)(?:key|keys|token|cookie)$")
_IN_ADDRESS = re.compile(r"(?<=://)[^/\s:@]*:[^/\s@]+(?=@)")
_LOOKS_SECRET = re.compile(
    r"(?<=Bearer )[\w.~+/=\-]{8,}"
    r"|\b(?:AKIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{20,}|sk-[A-Za-z0-9_\-]{20,}|xox[abprs]-[A-Za-z0-9\-]{10,}|eyJ[\w\-]{10,}\.[\w\-]{10,}\.[\w\-]+)"
)
_SECRET_FILE = re.compile(
    r"(?i)(?:^|/)(?:\.env(?:\.[^/]*)?|\.netrc|\.pgpass|\.pypirc|\.htpasswd|id_(?:rsa|dsa|ecdsa|ed25519)|[^/]*\.(?:pem|p12|pfx|key|keystore)"
    r"|[^/]*credentials?(?:\.[^/]*)?|[^/]*secrets?\.(?:ya?ml|json|toml|ini|txt)|\.aws/.*|\.ssh/.*)$"
)
_SHORTEST_VALUE = 8
"""Characters of a secret in the environment that is looked for in texts; shorter ones would mask ordinary words."""
_declared: list[str] = []
"""Values that somebody has said are secrets, for as long as they are in use in this process."""


def is_secret(name: str) -> bool:
    """Whether a name says that its value is a secret.

    >>> [is_secret(name) for name in ("API_KEY", "db-password", "HF_TOKEN", "dsn", "max_tokens", "sort_key", "keys_per_row")]
    [True, True, True, True, False, False, False]
    """
    return (bool(_SECRET.search(name)) and not _HARMLESS.search(name)) or any(
        fnmatch(name.lower(), pattern) for pattern in _own_patterns()
    )


def holds_secrets(path: str) -> bool:
    """Whether a file is one that people keep secrets in: its content is not kept, only that it was there.

    >>> [holds_secrets(path) for path in (".env", "deploy/.env.local", "keys/id_rsa", "server.pem", "environment.py")]
    [True, True, True, True, False]
    """
    return bool(_SECRET_FILE.search(path))


def masked_command(command: Sequence[str]) -> list[str]:
    """A command line without its secrets: options named like one, passwords in addresses, and what looks like a key.

    >>> masked_command(["train.py", "--lr", "0.1", "--api-key", "s3cr3t", "--token=abc", "db://ann:pw@host/x"])
    ['train.py', '--lr', '0.1', '--api-key', '***', '--token=***', 'db://***@host/x']
    """
    shown: list[str] = []
    hide_next = False
    for word in command:
        name, equals, _ = word.partition("=")
        if hide_next and not word.startswith("-"):
            shown.append(MASK)
        elif equals and is_secret(name.lstrip("-")):
            shown.append(f"{name}={MASK}")
        else:
            shown.append(masked_text(word))
        hide_next = not equals and word.startswith("-") and is_secret(word.lstrip("-"))
    return shown


def masked_params(params: Mapping[str, str]) -> dict[str, str]:
    """Parameters without the values of those whose name says that they are secrets. The bare words ``key``, ``keys``, ``token``
    and ``cookie`` are ordinary names here: of a table's column, or a word.

    >>> masked_params({"lr": "0.1", "api_key": "s3cr3t", "db.password": "x", "key": "origin", "url": "db://ann:pw@host/x"})
    {'lr': '0.1', 'api_key': '***', 'db.password': '***', 'key': 'origin', 'url': 'db://***@host/x'}
    """
    return {
        key: MASK if is_secret(key) and not _PLAIN_IN_PARAMS.search(key) else masked_text(value)
        for key, value in params.items()
    }


def masked_text(text: str) -> str:
    """A text without passwords in addresses and without what looks like a key.

    >>> masked_text("pulling from https://ann:pw@host/x with AKIAIOSFODNN7EXAMPLE")
    'pulling from https://***@host/x with ***'
    """
    if "://" in text:
        text = _IN_ADDRESS.sub(MASK, text)
    return without(text, _declared) if _declared else _LOOKS_SECRET.sub(MASK, text)


@contextmanager
def also_masked(values: Iterable[str]) -> Iterator[None]:
    """Within the block, these values are masked wherever secrets are, in all threads of the process.

    >>> with also_masked(["pa ss"]):
    ...     masked_text("it is pa ss or pa%20ss")
    'it is *** or ***'
    """
    added = [each for each in values if each]
    _declared.extend(added)
    try:
        yield
    finally:
        for each in added:
            _declared.remove(each)


def without(text: str, values: Iterable[str]) -> str:
    """`masked_text` without these values either, as they are and in the forms they take in addresses, JSON and Base64.

    >>> without("Basic cGFzczE=, pass1", ["pass1"])
    'Basic ***, ***'
    """
    forms = {form for value in values for form in _forms(value) if form}
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, MASK)
    return _LOOKS_SECRET.sub(MASK, text)


def _forms(value: str) -> Iterator[str]:
    yield value
    yield quote(value, safe="")
    yield quote_plus(value)
    yield json.dumps(value)[1:-1]
    yield repr(value)[1:-1]
    yield base64.b64encode(value.encode()).decode()


def text_mask(environment: Mapping[str, str] = os.environ) -> Callable[[str], str]:
    """`masked_text` that also leaves out the values of secrets in the environment, as they are now.

    >>> text_mask({"HF_TOKEN": "hf-1234567890", "SHORT_TOKEN": "on"})("on with hf-1234567890")
    'on with ***'
    """
    values = sorted(
        {
            value
            for name, value in environment.items()
            if len(value) >= _SHORTEST_VALUE
            and not value.startswith("/")
            and is_secret(name)  # a path leads to a secret
        },
        key=len,
        reverse=True,
    )
    if not values:
        return masked_text
    known = re.compile("|".join(map(re.escape, values)))
    return lambda text: known.sub(MASK, masked_text(text))


def _own_patterns() -> list[str]:
    given = os.environ.get(OWN_PATTERNS, "")
    return [each.strip().lower() for each in given.split(",") if each.strip()]
