"""minio-py: large files in parts, objects composed from others on the server, deletes in bulk, presigned URLs."""

import datetime
import io
import os

import pytest
import requests
import urllib3
from minio import Minio
from minio.commonconfig import ComposeSource, CopySource, Tags
from minio.deleteobjects import DeleteObject
from minio.error import S3Error

MIB = 1024 * 1024


@pytest.fixture
def minio(cluster):
    # A retry would hide what the first try met.
    once = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(60))
    host = cluster.endpoint.removeprefix("http://")
    return Minio(host, cluster.access_key, cluster.secret_key, secure=False, region="us-east-1", http_client=once)


def keys(minio, bucket, prefix, **how):
    return [entry.object_name for entry in minio.list_objects(bucket, prefix, **how)]


def test_large_files(minio, cluster, tmp_path, prefix):
    for size in (17 * MIB + 1, 11 * MIB):
        body = os.urandom(size)
        (tmp_path / "large").write_bytes(body)
        put = minio.fput_object(
            cluster.bucket,
            f"{prefix}large ü",
            str(tmp_path / "large"),
            content_type="text/x",
            metadata={"one": "1"},
            part_size=5 * MIB,
        )
        assert put.etag.endswith(f"-{-(-size // (5 * MIB))}")
        head = minio.stat_object(cluster.bucket, f"{prefix}large ü")
        assert (head.size, head.etag, head.content_type) == (size, put.etag, "text/x")
        assert head.metadata["x-amz-meta-one"] == "1"
        minio.fget_object(cluster.bucket, f"{prefix}large ü", str(tmp_path / "back"))
        assert (tmp_path / "back").read_bytes() == body
    assert minio.bucket_exists(cluster.bucket)


def test_a_stream_of_unknown_length(minio, cluster, tmp_path, prefix):
    body = os.urandom(12 * MIB)
    (tmp_path / "in").write_bytes(body)
    with open(tmp_path / "in", "rb") as stream:
        minio.put_object(cluster.bucket, f"{prefix}x", stream, length=-1, part_size=5 * MIB)
    answer = minio.get_object(cluster.bucket, f"{prefix}x", offset=5 * MIB - 3, length=7)
    assert answer.read() == body[5 * MIB - 3 : 5 * MIB + 4]
    answer.close()
    answer.release_conn()


def test_compose(minio, cluster, tmp_path, prefix):
    first, second = os.urandom(6 * MIB), os.urandom(7 * MIB)
    for name, body in (("first", first), ("second", second)):
        (tmp_path / name).write_bytes(body)
        minio.fput_object(cluster.bucket, prefix + name, str(tmp_path / name))
    sources = [
        ComposeSource(cluster.bucket, f"{prefix}first"),
        ComposeSource(cluster.bucket, f"{prefix}second", offset=MIB, length=5 * MIB),
        ComposeSource(cluster.bucket, f"{prefix}second", offset=3, length=100),
    ]
    expected = first + second[MIB : 6 * MIB] + second[3:103]
    minio.compose_object(cluster.other, f"{prefix}both", sources)
    minio.fget_object(cluster.other, f"{prefix}both", str(tmp_path / "both"))
    assert (tmp_path / "both").read_bytes() == expected
    # Again, upon what was composed.
    more = [ComposeSource(cluster.other, f"{prefix}both"), ComposeSource(cluster.bucket, f"{prefix}first")]
    minio.compose_object(cluster.other, f"{prefix}both", more)
    minio.fget_object(cluster.other, f"{prefix}both", str(tmp_path / "both"))
    assert (tmp_path / "both").read_bytes() == expected + first
    minio.copy_object(cluster.bucket, f"{prefix}copy", CopySource(cluster.other, f"{prefix}both"))
    assert minio.stat_object(cluster.bucket, f"{prefix}copy").size == len(expected + first)


def test_list_and_remove(minio, cluster, tmp_path, prefix):
    (tmp_path / "x").write_bytes(b"x")
    names = [f"{prefix}{folder}/{i} +&ü" for folder in "ab" for i in range(20)]
    for name in names:
        minio.fput_object(cluster.bucket, name, str(tmp_path / "x"))
    assert keys(minio, cluster.bucket, prefix) == [f"{prefix}a/", f"{prefix}b/"]
    assert keys(minio, cluster.bucket, prefix, recursive=True) == sorted(names)
    assert keys(minio, cluster.bucket, prefix, recursive=True, use_api_v1=True) == sorted(names)
    after = sorted(names)[10]
    assert keys(minio, cluster.bucket, prefix, recursive=True, start_after=after) == sorted(names)[11:]
    for chosen in (names[:15], names):
        assert list(minio.remove_objects(cluster.bucket, [DeleteObject(name) for name in chosen])) == []
        left = [name for name in names if name not in chosen]
        assert keys(minio, cluster.bucket, prefix, recursive=True) == sorted(left)
    with pytest.raises(S3Error) as error:
        minio.stat_object(cluster.bucket, names[0])
    assert error.value.code == "NoSuchKey"


def test_characters_as_references(minio, cluster, prefix):
    """minio-py writes documents in ASCII: what is beyond it as references."""
    names = [f"{prefix}ü", f"{prefix}日本", f"{prefix}🙂\U0010fffd"]
    for name in names:
        minio.put_object(cluster.bucket, name, io.BytesIO(b"x"), 1)
        tags = Tags.new_object_tags()
        tags["ü"] = "é日"
        minio.set_object_tags(cluster.bucket, name, tags)
        assert dict(minio.get_object_tags(cluster.bucket, name)) == {"ü": "é日"}
    assert list(minio.remove_objects(cluster.bucket, [DeleteObject(name) for name in names])) == []
    assert keys(minio, cluster.bucket, prefix) == []


def test_presigned(minio, cluster, prefix):
    key, short = f"{prefix}pre signed+ü", datetime.timedelta(minutes=5)
    for body in (b"the first", os.urandom(100_000)):
        put = requests.put(minio.presigned_put_object(cluster.bucket, key, short), data=body, timeout=60)
        assert put.status_code == 200, put.text
        url = minio.presigned_get_object(cluster.bucket, key, short, response_headers={"response-content-type": "a/b"})
        got = requests.get(url, timeout=60)
        assert (got.status_code, got.content, got.headers["Content-Type"]) == (200, body, "a/b")
    assert requests.get(url.replace("a%2Fb", "a%2Fc"), timeout=60).status_code == 403
