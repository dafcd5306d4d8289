"""The object store on S3, against a real server: the contract, and what only a server can do to us."""

import socket
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.contracts.objects_contract import ContentStoreContract, noise, sha256
from tests.support.s3 import BUCKET, S3Server

from everloop.errors import InvalidInput, PermissionDenied, Unavailable
from everloop.store.objects import S3Bucket, open_objects


class TestS3(ContentStoreContract):
    @pytest.fixture
    def bucket(self, s3_server: S3Server, s3_address: str, tmp_path: Path) -> S3Bucket:
        prefix = urlsplit(s3_address).path.strip("/")
        return S3Bucket(BUCKET, prefix=prefix, endpoint=s3_server.endpoint, staging=tmp_path / "staging")


def test_an_address_opens_a_store(s3_address: str, tmp_path: Path) -> None:
    store = open_objects(s3_address, cache=tmp_path / "cache")
    digest = store.put(noise(900_000)).digest
    assert digest == sha256(noise(900_000))
    store.close()
    again = open_objects(s3_address, cache=tmp_path / "another cache")
    assert again.read(digest) == noise(900_000)
    assert list((tmp_path / "cache" / "staging").iterdir()) == []
    again.close()


def test_stores_below_different_prefixes_are_strangers(s3_address: str, tmp_path: Path) -> None:
    store = open_objects(s3_address, cache=tmp_path / "one")
    other = open_objects(s3_address.replace("/test-", "/other-test-"), cache=tmp_path / "two")
    digest = store.put(b"here").digest
    assert other.missing([digest]) == {digest}
    store.close()
    other.close()


def test_a_wrong_secret_is_refused(s3_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    store = open_objects(s3_address, cache=tmp_path)
    with pytest.raises(PermissionDenied, match="refuses these credentials"):
        store.put(b"x")


def test_missing_credentials_are_said(
    s3_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(InvalidInput, match="no credentials for s3://everloop/test-"):
        open_objects(s3_address, cache=tmp_path)


def test_a_server_that_is_away_is_said(s3_address: str, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: connections are refused
        away = f"s3://everloop/x?endpoint=http://127.0.0.1:{taken.getsockname()[1]}"
        store = open_objects(away, cache=tmp_path)
        for act in (
            lambda: store.put(b"x"),
            lambda: store.missing([sha256(b"x")]),
            lambda: list(store.verify()),
        ):
            with pytest.raises(Unavailable, match="does not answer"):
                act()


def test_a_bucket_that_does_not_exist_is_said(s3_address: str, tmp_path: Path) -> None:
    store = open_objects(s3_address.replace("s3://everloop/", "s3://no-such-bucket/"), cache=tmp_path)
    for act in (lambda: store.put(b"x"), lambda: list(store.digests())):
        with pytest.raises(InvalidInput, match="no bucket"):
            act()
