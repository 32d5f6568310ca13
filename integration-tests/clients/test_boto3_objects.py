"""boto3: objects one by one, byte for byte."""

import base64
import hashlib
import os

import pytest
from botocore.exceptions import ClientError

SIZES = [0, 1, 1000, 65_536, 5_000_000, 20_000_001]
KEYS = [
    "plain",
    "with space and + and % and ?query=1&x#y",
    "ünïcödé/日本語/🙂",
    "a/b/c/d/e",
    "dots/../and/./segments",
    "trailing/",
    "//leading//double",
    "x" * 900,
    "ü" * 250 + "/" + "z" * 300,
    "tilde~0123456789abcdefghjkmnpqrstvwxyz",
    "control-\x01-character",
    "back\\slash",
]


def code(error):
    return error.value.response["Error"]["Code"], error.value.response["ResponseMetadata"]["HTTPStatusCode"]


@pytest.mark.parametrize("size", SIZES)
def test_bytes_come_back(s3, cluster, prefix, size):
    body = os.urandom(size)
    put = s3.put_object(Bucket=cluster.bucket, Key=prefix + "x", Body=body)
    assert put["ETag"] == f'"{hashlib.md5(body).hexdigest()}"'
    got = s3.get_object(Bucket=cluster.bucket, Key=prefix + "x")
    assert got["Body"].read() == body
    assert (got["ETag"], got["ContentLength"]) == (put["ETag"], size)
    head = s3.head_object(Bucket=cluster.bucket, Key=prefix + "x")
    assert (head["ETag"], head["ContentLength"]) == (put["ETag"], size)


@pytest.mark.parametrize("key", KEYS, ids=range(len(KEYS)))
def test_every_key_is_itself(s3, cluster, key):
    # boto3 sends keys as they are; with a prefix the odd beginnings would be gone.
    s3.put_object(Bucket=cluster.other, Key=key, Body=key.encode())
    assert s3.get_object(Bucket=cluster.other, Key=key)["Body"].read() == key.encode()
    listed = s3.list_objects_v2(Bucket=cluster.other, Prefix=key)["Contents"]
    assert key in [entry["Key"] for entry in listed]
    s3.delete_object(Bucket=cluster.other, Key=key)
    with pytest.raises(ClientError) as error:
        s3.get_object(Bucket=cluster.other, Key=key)
    assert code(error) == ("NoSuchKey", 404)


@pytest.mark.parametrize("algorithm", ["SHA512", "MD5"])
def test_newer_checksums_are_compared_and_kept(s3, cluster, prefix, algorithm):
    # This client computes none of them: it sends what it is given.
    body, field = os.urandom(100_000), f"Checksum{algorithm}"
    where = {"Bucket": cluster.bucket, "Key": prefix + algorithm}
    value = base64.b64encode(hashlib.new(algorithm, body).digest()).decode()
    assert s3.put_object(**where, Body=body, **{field: value})[field] == value
    with pytest.raises(ClientError) as error:
        s3.put_object(**where, Body=body[::-1], **{field: value})
    assert code(error) == ("BadDigest", 400)
    got = s3.get_object(**where, ChecksumMode="ENABLED")
    assert (got["Body"].read(), got[field]) == (body, value)
    copied = s3.copy_object(Bucket=cluster.bucket, Key=prefix + "copied", CopySource=where)
    assert copied["CopyObjectResult"][field] == value


def test_headers_and_metadata(s3, cluster, prefix):
    headers = {
        "ContentType": "text/x-thing",
        "ContentEncoding": "br",
        "ContentLanguage": "de",
        "ContentDisposition": 'attachment; filename="a b"',
        "CacheControl": "max-age=7",
        "Metadata": {"one": "1", "two-words": "zwei"},
    }
    s3.put_object(Bucket=cluster.bucket, Key=prefix + "h", Body=b"x", **headers)
    for answer in (s3.head_object, s3.get_object):
        seen = answer(Bucket=cluster.bucket, Key=prefix + "h")
        assert {name: seen[name] for name in headers} == headers
    seen = s3.get_object(
        Bucket=cluster.bucket, Key=prefix + "h", ResponseContentType="a/b", ResponseCacheControl="no-store"
    )
    assert (seen["ContentType"], seen["CacheControl"]) == ("a/b", "no-store")


@pytest.mark.parametrize(
    "header, expected",
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=10-99", (10, 100)),
        ("bytes=99990-", (99_990, 100_000)),
        ("bytes=-7", (99_993, 100_000)),
        ("bytes=50-9999999", (50, 100_000)),
        ("bytes=-9999999", (0, 100_000)),
    ],
)
def test_ranges(s3, cluster, prefix, header, expected):
    body = bytes(i * 7 % 251 for i in range(100_000))
    s3.put_object(Bucket=cluster.bucket, Key=prefix + "r", Body=body)
    first, end = expected
    got = s3.get_object(Bucket=cluster.bucket, Key=prefix + "r", Range=header)
    assert got["Body"].read() == body[first:end]
    assert got["ResponseMetadata"]["HTTPStatusCode"] == 206
    assert got["ContentRange"] == f"bytes {first}-{end - 1}/{len(body)}"


def test_a_range_behind_the_end(s3, cluster, prefix):
    s3.put_object(Bucket=cluster.bucket, Key=prefix + "r", Body=b"short")
    with pytest.raises(ClientError) as error:
        s3.get_object(Bucket=cluster.bucket, Key=prefix + "r", Range="bytes=5-9")
    assert code(error) == ("InvalidRange", 416)


def test_conditional_reads(s3, cluster, prefix):
    where = {"Bucket": cluster.bucket, "Key": prefix + "c"}
    etag = s3.put_object(**where, Body=b"1")["ETag"]
    modified = s3.head_object(**where)["LastModified"]
    assert s3.get_object(**where, IfMatch=etag)["Body"].read() == b"1"
    assert s3.get_object(**where, IfUnmodifiedSince=modified)["Body"].read() == b"1"
    for condition, status in [
        ({"IfMatch": '"0"'}, 412),
        ({"IfNoneMatch": etag}, 304),
        ({"IfNoneMatch": "*"}, 304),
        ({"IfModifiedSince": modified}, 304),
    ]:
        with pytest.raises(ClientError) as error:
            s3.get_object(**where, **condition)
        assert code(error)[1] == status, condition


def test_conditional_writes(s3, cluster, prefix):
    where = {"Bucket": cluster.bucket, "Key": prefix + "c"}
    with pytest.raises(ClientError) as error:
        s3.put_object(**where, Body=b"0", IfMatch='"0"')
    assert code(error)[1] in (404, 412)
    etag = s3.put_object(**where, Body=b"1", IfNoneMatch="*")["ETag"]
    with pytest.raises(ClientError) as error:
        s3.put_object(**where, Body=b"2", IfNoneMatch="*")
    assert code(error) == ("PreconditionFailed", 412)
    s3.put_object(**where, Body=b"3", IfMatch=etag)
    with pytest.raises(ClientError) as error:
        s3.put_object(**where, Body=b"4", IfMatch=etag)
    assert code(error) == ("PreconditionFailed", 412)
    assert s3.get_object(**where)["Body"].read() == b"3"


def test_overwrite_and_delete(s3, cluster, prefix):
    where = {"Bucket": cluster.bucket, "Key": prefix + "o"}
    for body in (b"first", b"the second", b""):
        s3.put_object(**where, Body=body)
        assert s3.get_object(**where)["Body"].read() == body
    s3.delete_object(**where)
    s3.delete_object(**where)
    with pytest.raises(ClientError) as error:
        s3.head_object(**where)
    assert code(error)[1] == 404


def test_delete_objects(s3, cluster, prefix):
    keys = [f"{prefix}{i:04}" for i in range(1000)]
    for key in keys[:50]:
        s3.put_object(Bucket=cluster.bucket, Key=key, Body=b"x")
    answer = s3.delete_objects(Bucket=cluster.bucket, Delete={"Objects": [{"Key": key} for key in keys]})
    assert sorted(entry["Key"] for entry in answer["Deleted"]) == keys
    assert "Errors" not in answer
    assert s3.list_objects_v2(Bucket=cluster.bucket, Prefix=prefix)["KeyCount"] == 0
    s3.put_object(Bucket=cluster.bucket, Key=keys[0], Body=b"x")
    quiet = {"Objects": [{"Key": keys[0]}], "Quiet": True}
    assert "Deleted" not in s3.delete_objects(Bucket=cluster.bucket, Delete=quiet)


def test_copies(s3, cluster, prefix):
    body = os.urandom(300_000)
    source = {"Bucket": cluster.bucket, "Key": prefix + "source ü+%"}
    s3.put_object(**source, Body=body, ContentType="a/b", Metadata={"m": "1"})
    target = {"Bucket": cluster.other, "Key": prefix + "target"}
    copied = s3.copy_object(**target, CopySource=source)["CopyObjectResult"]
    got = s3.get_object(**target)
    assert got["Body"].read() == body
    assert (got["ETag"], got["ContentType"], got["Metadata"]) == (copied["ETag"], "a/b", {"m": "1"})
    s3.copy_object(**target, CopySource=source, MetadataDirective="REPLACE", Metadata={"n": "2"}, ContentType="c/d")
    head = s3.head_object(**target)
    assert (head["ContentType"], head["Metadata"]) == ("c/d", {"n": "2"})
    # Onto itself: only with something to change.
    with pytest.raises(ClientError) as error:
        s3.copy_object(**source, CopySource=source)
    assert code(error) == ("InvalidRequest", 400)
    s3.copy_object(**source, CopySource=source, MetadataDirective="REPLACE", Metadata={"m": "2"})
    got = s3.get_object(**source)
    assert (got["Body"].read(), got["Metadata"]) == (body, {"m": "2"})
    with pytest.raises(ClientError) as error:
        s3.copy_object(**target, CopySource={"Bucket": cluster.bucket, "Key": prefix + "nothing"})
    assert code(error) == ("NoSuchKey", 404)


def test_who_may_what(s3, cluster, prefix):
    from conftest import client

    s3.put_object(Bucket=cluster.bucket, Key=prefix + "x", Body=b"x")
    reader = client(cluster.endpoint, cluster.reader_key, cluster.reader_secret)
    assert reader.get_object(Bucket=cluster.bucket, Key=prefix + "x")["Body"].read() == b"x"
    stranger = client(cluster.endpoint, "AKIANOBODY", "x")
    forger = client(cluster.endpoint, cluster.access_key, "wrong")
    for who, bucket, wrong in [
        (reader, cluster.bucket, "AccessDenied"),
        (reader, cluster.other, "AccessDenied"),
        (s3, cluster.readonly, "AccessDenied"),
        (stranger, cluster.bucket, "InvalidAccessKeyId"),
        (forger, cluster.bucket, "SignatureDoesNotMatch"),
    ]:
        with pytest.raises(ClientError) as error:
            who.put_object(Bucket=bucket, Key=prefix + "y", Body=b"y")
        assert code(error) == (wrong, 403)


def test_errors(s3, cluster, prefix):
    with pytest.raises(ClientError) as error:
        s3.get_object(Bucket=cluster.bucket, Key=prefix + "nothing")
    assert code(error) == ("NoSuchKey", 404)
    assert error.value.response["ResponseMetadata"]["RequestId"]
    with pytest.raises(ClientError) as error:
        s3.put_bucket_website(Bucket=cluster.bucket, WebsiteConfiguration={"IndexDocument": {"Suffix": "x"}})
    assert code(error) == ("NotImplemented", 501)
