"""From the line in a profile to an object store."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from everloop.errors import InvalidInput
from everloop.store.objects.buckets import LocalBucket
from everloop.store.objects.content import ContentStore
from everloop.store.objects.s3 import S3Bucket


def open_objects(location: str | Path, *, cache: Path | None = None, user: str = "") -> ContentStore:
    """The object store at a folder, or at `s3://BUCKET/PREFIX?endpoint=http://HOST:PORT&region=REGION`.

    Of an address, only the bucket is required.

    Opening touches nothing: a store is made by the first write.

    cache: a local folder for a remote store's index and for files on their way to it (which needs room for
    the new bytes of one writer); a folder below the user's cache folder when not given. A local store keeps
    both in its own folder.

    user: names the ledger whose objects these are, for a store that others may use too: `everloop data gc` frees nothing of a
    store that serves several.

    Raises `InvalidInput` for an address of another shape.
    """
    text = str(location)
    if isinstance(location, Path) or "://" not in text:
        root = Path(location)
        return ContentStore(LocalBucket(root), root / "index.sqlite", user=user)
    parts = urlsplit(text)
    options = dict(parse_qsl(parts.query))
    if parts.scheme != "s3" or not parts.netloc or options.keys() - {"endpoint", "region"}:
        raise InvalidInput(
            f"{text!r} is not the address of an object store",
            hint="give a folder, or s3://BUCKET/PREFIX?endpoint=https://HOST&region=REGION",
        )
    if cache is None:
        caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        cache = caches / "everloop" / "objects" / hashlib.sha256(text.encode()).hexdigest()[:16]
    bucket = S3Bucket(
        parts.netloc,
        prefix=parts.path.strip("/"),
        endpoint=options.get("endpoint"),
        region=options.get("region"),
        staging=cache / "staging",
    )
    return ContentStore(bucket, cache / "index.sqlite", user=user)
