"""minio-go and the AWS SDK for Go v2: go/ does the work, and this file looks at what came of it."""

import json
import os
import subprocess

import pytest

pytestmark = pytest.mark.skipif(not os.environ.get("S3O_GO"), reason="the Go clients are not built")

MINIO = "buckets objects checksums large streams names compose presigned incomplete conditions settings versions locked"
AWS = "objects streams checksums manager transfer names presigned versions conditions errors"
WORK = [("minio", what) for what in MINIO.split()] + [("aws", what) for what in AWS.split()]
# Over TLS the SDKs sign and sum bodies otherwise.
TLS = [("minio", what) for what in ("objects", "checksums", "streams")]
TLS += [("aws", what) for what in ("streams", "manager", "transfer")]


@pytest.fixture
def go(cluster, environment, prefix):
    known = {"ENDPOINT": cluster.endpoint, "BUCKET": cluster.bucket, "VERSIONED": cluster.versioned, "PREFIX": prefix}
    known |= {"MAKER_KEY": cluster.maker_key, "MAKER_SECRET": cluster.maker_secret}

    def run(*what, **more):
        done = subprocess.run(
            [os.environ["S3O_GO"], *what], env={**environment, **known, **more}, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, f"{what}\n{done.stdout}\n{done.stderr}"
        return json.loads(done.stdout)

    return run


@pytest.mark.parametrize("sdk, what", TLS)
def test_over_tls(go, sdk, what):
    assert go(sdk, what, TLS="1")


@pytest.mark.parametrize("sdk, what", WORK)
def test_twice(go, s3, cluster, prefix, sdk, what):
    for _ in range(2):
        expected = go(sdk, what)
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=cluster.bucket, Prefix=prefix)
        listed = [entry for page in pages for entry in page.get("Contents", [])]
        assert {entry["Key"]: entry["Size"] for entry in listed} == expected
        assert "Uploads" not in s3.list_multipart_uploads(Bucket=cluster.bucket, Prefix=prefix)
