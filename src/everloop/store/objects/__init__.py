"""Bytes under the SHA-256 of their content: whole or absent, every read verified, on a folder or on S3.

>>> import tempfile
>>> with tempfile.TemporaryDirectory() as folder:
...     objects = open_objects(folder)
...     stored = objects.put(b"some bytes")
...     again = objects.put(b"some bytes")
...     objects.read(stored.digest), stored.new_bytes, again.new_bytes
(b'some bytes', 10, 0)
"""

from everloop.store.objects.buckets import Bucket, LocalBucket
from everloop.store.objects.content import ContentStore
from everloop.store.objects.contract import Fault, Objects, Source, Stored, Writer
from everloop.store.objects.opening import open_objects
from everloop.store.objects.s3 import S3Bucket

__all__ = [
    "Bucket",
    "ContentStore",
    "Fault",
    "LocalBucket",
    "Objects",
    "S3Bucket",
    "Source",
    "Stored",
    "Writer",
    "open_objects",
]
