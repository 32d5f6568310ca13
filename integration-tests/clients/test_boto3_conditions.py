"""boto3: conditions of writes, deletes and copies, as the S3 pages on conditional requests have them."""

import datetime

import pytest
from botocore.exceptions import ClientError

from test_boto3_objects import code

WRONG = '"00000000000000000000000000000000"'
FAILED, MISSING = ("PreconditionFailed", 412), ("NoSuchKey", 404)


def refused(call, **arguments):
    with pytest.raises(ClientError) as error:
        call(**arguments)
    return code(error)


def test_put(s3, cluster, prefix):
    where = {"Bucket": cluster.bucket, "Key": prefix + "x"}
    assert refused(s3.put_object, **where, Body=b"0", IfMatch=WRONG) == MISSING
    etag = s3.put_object(**where, Body=b"1", IfNoneMatch="*")["ETag"]
    assert refused(s3.put_object, **where, Body=b"2", IfNoneMatch="*") == FAILED
    assert refused(s3.put_object, **where, Body=b"2", IfMatch=WRONG) == FAILED
    assert refused(s3.put_object, **where, Body=b"2", IfNoneMatch=etag) == ("NotImplemented", 501)
    s3.put_object(**where, Body=b"3", IfMatch=etag)
    s3.delete_object(**where)
    s3.put_object(**where, Body=b"4", IfNoneMatch="*")
    assert s3.get_object(**where)["Body"].read() == b"4"


def test_delete(s3, cluster, prefix):
    where = {"Bucket": cluster.bucket, "Key": prefix + "x"}
    for condition in (WRONG, "*"):
        assert refused(s3.delete_object, **where, IfMatch=condition) == MISSING
    etag = s3.put_object(**where, Body=b"1")["ETag"]
    assert refused(s3.delete_object, **where, IfMatch=WRONG) == FAILED
    s3.delete_object(**where, IfMatch=etag)
    s3.put_object(**where, Body=b"2")
    s3.delete_object(**where, IfMatch="*")
    assert refused(s3.get_object, **where) == MISSING


def test_delete_objects(s3, cluster, prefix):
    etags = {n: s3.put_object(Bucket=cluster.bucket, Key=f"{prefix}{n}", Body=n.encode())["ETag"] for n in "ab"}
    objects = [
        {"Key": f"{prefix}a", "ETag": etags["a"]},
        {"Key": f"{prefix}b", "ETag": WRONG},
        {"Key": f"{prefix}c", "ETag": WRONG},
    ]
    answer = s3.delete_objects(Bucket=cluster.bucket, Delete={"Objects": objects})
    assert [entry["Key"] for entry in answer["Deleted"]] == [f"{prefix}a"]
    wrong = {entry["Key"]: entry["Code"] for entry in answer["Errors"]}
    assert wrong == {f"{prefix}b": "PreconditionFailed", f"{prefix}c": "NoSuchKey"}


def test_copy_target(s3, cluster, prefix):
    source = {"Bucket": cluster.bucket, "Key": prefix + "from"}
    s3.put_object(**source, Body=b"source")
    copy = {"Bucket": cluster.other, "Key": prefix + "to", "CopySource": source}
    assert refused(s3.copy_object, **copy, IfMatch=WRONG) == MISSING
    etag = s3.copy_object(**copy, IfNoneMatch="*")["CopyObjectResult"]["ETag"]
    assert refused(s3.copy_object, **copy, IfNoneMatch="*") == FAILED
    assert refused(s3.copy_object, **copy, IfMatch=WRONG) == FAILED
    s3.copy_object(**copy, IfMatch=etag)


def test_copy_source(s3, cluster, prefix):
    source = {"Bucket": cluster.bucket, "Key": prefix + "from"}
    etag = s3.put_object(**source, Body=b"source")["ETag"]
    changed = s3.head_object(**source)["LastModified"]
    before, after = changed - datetime.timedelta(hours=1), changed
    copy = {"Bucket": cluster.other, "Key": prefix + "to", "CopySource": source}
    for holds in [
        {"CopySourceIfMatch": etag},
        {"CopySourceIfNoneMatch": WRONG},
        {"CopySourceIfModifiedSince": before},
        {"CopySourceIfUnmodifiedSince": after},
        # The ETag's condition decides beside a date (CopyObject reference).
        {"CopySourceIfMatch": etag, "CopySourceIfUnmodifiedSince": before},
        {"CopySourceIfNoneMatch": WRONG, "CopySourceIfModifiedSince": before},
    ]:
        s3.copy_object(**copy, **holds)
    for fails in [
        {"CopySourceIfMatch": WRONG},
        {"CopySourceIfNoneMatch": etag},
        {"CopySourceIfModifiedSince": after},
        {"CopySourceIfUnmodifiedSince": before},
        {"CopySourceIfNoneMatch": etag, "CopySourceIfModifiedSince": before},
        {"CopySourceIfMatch": WRONG, "CopySourceIfUnmodifiedSince": after},
    ]:
        assert refused(s3.copy_object, **copy, **fails) == FAILED, fails
