"""boto3: the ways in which a request can be signed, addressed and protected."""

import hashlib
import io
import os
import socket
from urllib.parse import urlsplit

import pytest
import requests
from botocore.exceptions import ClientError


@pytest.mark.parametrize("calculation", ["when_supported", "when_required"])
@pytest.mark.parametrize("size", [0, 10, 3_000_000])
def test_checksums_by_default(make_client, cluster, prefix, calculation, size):
    s3 = make_client(request_checksum_calculation=calculation, response_checksum_validation=calculation)
    body = os.urandom(size)
    s3.put_object(Bucket=cluster.bucket, Key=prefix + "x", Body=body)
    assert s3.get_object(Bucket=cluster.bucket, Key=prefix + "x")["Body"].read() == body


@pytest.mark.parametrize("algorithm", ["CRC32", "SHA1", "SHA256"])
def test_checksums_by_name(s3, cluster, prefix, algorithm):
    body = os.urandom(100_000)
    where = {"Bucket": cluster.bucket, "Key": prefix + "x"}
    put = s3.put_object(**where, Body=body, ChecksumAlgorithm=algorithm)
    field = f"Checksum{algorithm}"
    got = s3.get_object(**where, ChecksumMode="ENABLED")
    assert got["Body"].read() == body
    assert got[field] == put[field]
    assert s3.head_object(**where, ChecksumMode="ENABLED")[field] == put[field]


def test_a_stream_without_an_end_in_sight(s3, cluster, prefix):
    """Not seekable, over http: signed chunks or an unsigned trailer, whatever botocore takes."""
    body = os.urandom(1_000_000)
    s3.upload_fileobj(io.BytesIO(body), cluster.bucket, prefix + "x")
    out = io.BytesIO()
    s3.download_fileobj(cluster.bucket, prefix + "x", out)
    assert out.getvalue() == body


@pytest.mark.parametrize("name, value", [("ContentMD5", "1B2M2Y8AsgTpgAmY7PhCfg=="), ("ChecksumSHA256", "A" * 43 + "=")])
def test_a_wrong_checksum_stores_nothing(s3, cluster, prefix, name, value):
    where = {"Bucket": cluster.bucket, "Key": prefix + "x"}
    with pytest.raises(ClientError) as error:
        s3.put_object(**where, Body=b"not what was said", **{name: value})
    assert error.value.response["Error"]["Code"] in ("BadDigest", "InvalidDigest", "XAmzContentChecksumMismatch")
    with pytest.raises(ClientError) as error:
        s3.head_object(**where)
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 404


def test_presigned(make_client, cluster, prefix):
    # In us-east-1 boto3 presigns with version 2 unless it is told otherwise, and version 2 is refused.
    s3 = make_client(signature_version="s3v4")
    where = {"Bucket": cluster.bucket, "Key": prefix + "pre signed+ü"}
    body = os.urandom(50_000)
    url = s3.generate_presigned_url("put_object", Params={**where, "ContentType": "a/b"}, ExpiresIn=300)
    put = requests.put(url, data=body, headers={"Content-Type": "a/b"}, timeout=60)
    assert put.status_code == 200, put.text
    assert put.headers["ETag"] == f'"{hashlib.md5(body).hexdigest()}"'
    url = s3.generate_presigned_url("get_object", Params=where, ExpiresIn=300)
    got = requests.get(url, timeout=60)
    assert (got.status_code, got.content, got.headers["Content-Type"]) == (200, body, "a/b")
    assert requests.get(url, headers={"Range": "bytes=10-19"}, timeout=60).content == body[10:20]
    forged = url[:-1] + ("0" if url[-1] != "0" else "1")
    assert requests.get(forged, timeout=60).status_code == 403
    assert requests.get(url.replace("pre", "pro"), timeout=60).status_code == 403
    url = s3.generate_presigned_url("delete_object", Params=where, ExpiresIn=300)
    assert requests.delete(url, timeout=60).status_code == 204


def test_ranges_that_s3_ignores(s3, cluster, prefix):
    """boto3 signs `Range`."""
    where = {"Bucket": cluster.bucket, "Key": prefix + "x"}
    s3.put_object(**where, Body=b"0123456789")
    for ignored in ["bytes=3-1", "bytes=0-0,2-2", "items=0-1"]:
        got = s3.get_object(**where, Range=ignored)
        assert (got["Body"].read(), got["ResponseMetadata"]["HTTPStatusCode"]) == (b"0123456789", 200)
    got = s3.get_object(**where, Range="Bytes=7-99999999999999999999")
    assert (got["Body"].read(), got["ResponseMetadata"]["HTTPStatusCode"]) == (b"789", 206)


def test_signature_version_2_is_refused(make_client, cluster, prefix):
    s3 = make_client(signature_version="s3")
    url = s3.generate_presigned_url("get_object", Params={"Bucket": cluster.bucket, "Key": prefix}, ExpiresIn=300)
    answer = requests.get(url, timeout=60)
    assert (answer.status_code, "<Code>AccessDenied</Code>" in answer.text) == (403, True)


def test_without_a_signature(cluster):
    answer = requests.get(f"{cluster.endpoint}/{cluster.bucket}/x", timeout=60)
    assert answer.status_code == 403
    assert "<Code>AccessDenied</Code>" in answer.text
    assert answer.headers["x-amz-request-id"]


@pytest.fixture
def any_host_is_local(monkeypatch):
    """The names beneath the suite's domain stand in no DNS."""
    resolve = socket.getaddrinfo

    def local(host, *arguments, **named):
        name = host.decode() if isinstance(host, bytes) else host
        return resolve("127.0.0.1" if name and name.endswith("s3.test") else host, *arguments, **named)

    monkeypatch.setattr(socket, "getaddrinfo", local)


def test_virtual_host_style(any_host_is_local, cluster, prefix):
    from conftest import client

    endpoint = f"http://{cluster.domain}:{cluster.s3_port}"
    style = {"s3": {"addressing_style": "virtual"}, "signature_version": "s3v4"}
    s3 = client(endpoint, cluster.access_key, cluster.secret_key, **style)
    where = {"Bucket": cluster.bucket, "Key": prefix + "a/b ü"}
    url = s3.generate_presigned_url("get_object", Params=where, ExpiresIn=300)
    assert urlsplit(url).hostname == f"{cluster.bucket}.{cluster.domain}"
    s3.put_object(**where, Body=b"virtual")
    assert s3.get_object(**where)["Body"].read() == b"virtual"
    assert requests.get(url, timeout=60).content == b"virtual"
    assert s3.list_objects_v2(Bucket=cluster.bucket, Prefix=prefix)["KeyCount"] == 1
    assert cluster.bucket in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]
