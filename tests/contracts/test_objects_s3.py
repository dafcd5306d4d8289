"""The object store on S3, against a real server: the contract, and what only a server can do to us."""

from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.contracts.objects_contract import ContentStoreContract
from tests.support.s3 import BUCKET, S3Server

from everloop.store.objects import S3Bucket


class TestS3(ContentStoreContract):
    @pytest.fixture
    def bucket(self, s3_server: S3Server, s3_address: str, tmp_path: Path) -> S3Bucket:
        prefix = urlsplit(s3_address).path.strip("/")
        return S3Bucket(BUCKET, prefix=prefix, endpoint=s3_server.endpoint, staging=tmp_path / "staging")
