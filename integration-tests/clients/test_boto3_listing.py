"""boto3: buckets and listings, in S3's order, page by page."""

import pytest
from botocore.exceptions import ClientError

# Byte order is not the order of a dictionary, of UTF-16 or of folders.
NAMES = ["A", "B/1", "B/2", "Z", "a", "a b", "a!", "a.txt", "a/1", "a/2/x", "a/2/y", "a0", "z", "é", "日本", "\uffff", "😀"]


@pytest.fixture(scope="module")
def listed(s3, cluster):
    prefix = "listing/"
    for name in NAMES:
        s3.put_object(Bucket=cluster.other, Key=prefix + name, Body=name.encode())
    expected = sorted((prefix + name for name in NAMES), key=lambda key: key.encode())
    return prefix, expected


def test_buckets(s3, cluster):
    names = [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]
    region = s3.head_bucket(Bucket=cluster.bucket)["BucketRegion"]
    assert [bucket["Name"] for bucket in s3.list_buckets(BucketRegion=region)["Buckets"]] == names
    assert s3.list_buckets(BucketRegion="elsewhere-1")["Buckets"] == []
    assert names == sorted([cluster.bucket, cluster.other, cluster.readonly, cluster.versioned, cluster.locked])
    s3.head_bucket(Bucket=cluster.bucket)
    assert s3.get_bucket_location(Bucket=cluster.bucket)["LocationConstraint"] in (None, "us-east-1")
    assert "Status" not in s3.get_bucket_versioning(Bucket=cluster.bucket)
    with pytest.raises(ClientError) as error:
        s3.head_bucket(Bucket="no-such-bucket")
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] in (403, 404)


@pytest.mark.parametrize("page", [1, 2, 5, 1000])
@pytest.mark.parametrize("operation", ["list_objects", "list_objects_v2"])
def test_pages(s3, cluster, listed, operation, page):
    prefix, expected = listed
    pages = s3.get_paginator(operation).paginate(
        Bucket=cluster.other, Prefix=prefix, PaginationConfig={"PageSize": page}
    )
    seen = [entry for answer in pages for entry in answer.get("Contents", [])]
    assert [entry["Key"] for entry in seen] == expected
    assert all(entry["Size"] == len(entry["Key"].removeprefix(prefix).encode()) for entry in seen)


@pytest.mark.parametrize("page", [1, 2, 3, 1000])
@pytest.mark.parametrize("operation", ["list_objects", "list_objects_v2"])
def test_delimiter(s3, cluster, listed, operation, page):
    prefix, expected = listed
    pages = s3.get_paginator(operation).paginate(
        Bucket=cluster.other, Prefix=prefix, Delimiter="/", PaginationConfig={"PageSize": page}
    )
    keys, groups = [], []
    for answer in pages:
        keys += [entry["Key"] for entry in answer.get("Contents", [])]
        groups += [entry["Prefix"] for entry in answer.get("CommonPrefixes", [])]
    assert keys == [key for key in expected if "/" not in key.removeprefix(prefix)]
    assert groups == [f"{prefix}B/", f"{prefix}a/"]


def test_start_and_end(s3, cluster, listed):
    prefix, expected = listed
    answer = s3.list_objects_v2(Bucket=cluster.other, Prefix=prefix, StartAfter=expected[4], FetchOwner=True)
    assert [entry["Key"] for entry in answer["Contents"]] == expected[5:]
    assert all("Owner" in entry for entry in answer["Contents"])
    answer = s3.list_objects(Bucket=cluster.other, Prefix=prefix, Marker=expected[4])
    assert [entry["Key"] for entry in answer["Contents"]] == expected[5:]
    empty = s3.list_objects_v2(Bucket=cluster.other, Prefix=prefix, MaxKeys=0)
    assert (empty["KeyCount"], empty["IsTruncated"]) == (0, False)
    assert s3.list_objects_v2(Bucket=cluster.other, Prefix="nothing/")["KeyCount"] == 0
