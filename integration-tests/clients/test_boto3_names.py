"""boto3: names that documents, queries and paths would change, through every operation that says them."""

import pytest
from botocore.handlers import decode_list_object_v2, set_list_objects_encoding_type_url

NAMES = ["/", "//a//b/", "../up", "a/../b", ".", "a+b", "a b", "a%20b", "<a>&amp;'\"", "cr\r\nlf", "tab\tname", "ü/日本/🙂"]
# XML 1.0 cannot say it: batch deletes and listings without encoding cannot name it.
CONTROL = "control-\x01-\x1f-\x7f"


@pytest.fixture(scope="module")
def named(s3, cluster):
    for name in [*NAMES, CONTROL]:
        s3.put_object(Bucket=cluster.other, Key=name, Body=name.encode())
    yield [*NAMES, CONTROL]
    for name in [*NAMES, CONTROL]:
        s3.delete_object(Bucket=cluster.other, Key=name)


@pytest.mark.parametrize("operation", ["list_objects", "list_objects_v2"])
def test_listed(s3, cluster, named, operation):
    pages = s3.get_paginator(operation).paginate(Bucket=cluster.other, PaginationConfig={"PageSize": 3})
    seen = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
    assert set(named) <= set(seen)
    assert seen == sorted(seen, key=str.encode)


@pytest.mark.parametrize("number", range(len(NAMES) + 1))
def test_copied_and_tagged(s3, cluster, named, number):
    where = {"Bucket": cluster.other, "Key": named[number]}
    copy = {"Bucket": cluster.bucket, "Key": named[number]}
    s3.copy_object(**copy, CopySource=where)
    assert s3.get_object(**copy)["Body"].read() == named[number].encode()
    s3.put_object_tagging(**copy, Tagging={"TagSet": [{"Key": "n", "Value": str(number)}]})
    assert s3.get_object_tagging(**copy)["TagSet"] == [{"Key": "n", "Value": str(number)}]
    assert s3.get_object_attributes(**copy, ObjectAttributes=["ObjectSize"])["ObjectSize"] == len(named[number].encode())
    s3.delete_object(**copy)


def test_deleted_together(s3, cluster, prefix):
    keys = [prefix + name for name in NAMES]
    for key in keys:
        s3.put_object(Bucket=cluster.bucket, Key=key, Body=b"x")
    answer = s3.delete_objects(Bucket=cluster.bucket, Delete={"Objects": [{"Key": key} for key in keys]})
    assert sorted(entry["Key"] for entry in answer["Deleted"]) == sorted(keys)
    assert s3.list_objects_v2(Bucket=cluster.bucket, Prefix=prefix)["KeyCount"] == 0


def test_without_encoding(make_client, cluster, named):
    """What XML can say comes back whole also when the client did not ask for encoded names."""
    s3 = make_client()
    s3.meta.events.unregister("before-parameter-build.s3.ListObjectsV2", set_list_objects_encoding_type_url)
    s3.meta.events.unregister("after-call.s3.ListObjectsV2", decode_list_object_v2)
    for name in NAMES:
        seen = s3.list_objects_v2(Bucket=cluster.other, Prefix=name)["Contents"]
        assert name in [entry["Key"] for entry in seen]
