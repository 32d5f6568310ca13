"""boto3: Object Lock, as the S3 pages on it have it: retention, legal holds, and what the bucket says."""

import datetime
import os

import pytest
from botocore.exceptions import ClientError

from test_boto3_objects import code


def days(count):
    """Whole seconds, as the SDK sends them."""
    now = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
    return now + datetime.timedelta(days=count)


def refused(call, **arguments):
    with pytest.raises(ClientError) as error:
        call(**arguments)
    return code(error)


def put(s3, cluster, key, **lock):
    where = {"Bucket": cluster.locked, "Key": key}
    return {**where, "VersionId": s3.put_object(**where, Body=os.urandom(50), **lock)["VersionId"]}


def test_governance(s3, cluster, prefix):
    until = days(5)
    where = put(s3, cluster, prefix + "k", ObjectLockMode="GOVERNANCE", ObjectLockRetainUntilDate=until)
    got = s3.get_object_retention(**where)["Retention"]
    assert (got["Mode"], got["RetainUntilDate"]) == ("GOVERNANCE", until)
    head = s3.head_object(**where)
    assert (head["ObjectLockMode"], head["ObjectLockRetainUntilDate"]) == ("GOVERNANCE", until)
    assert "ObjectLockLegalHoldStatus" not in head
    assert refused(s3.delete_object, **where) == ("AccessDenied", 403)
    shorter = {"Mode": "GOVERNANCE", "RetainUntilDate": days(1)}
    assert refused(s3.put_object_retention, **where, Retention=shorter) == ("AccessDenied", 403)
    s3.put_object_retention(**where, Retention={"Mode": "GOVERNANCE", "RetainUntilDate": days(9)})
    s3.put_object_retention(**where, Retention=shorter, BypassGovernanceRetention=True)
    assert s3.get_object_retention(**where)["Retention"]["RetainUntilDate"] == shorter["RetainUntilDate"]
    s3.put_object_retention(**where, Retention={}, BypassGovernanceRetention=True)
    assert refused(s3.get_object_retention, **where) == ("NoSuchObjectLockConfiguration", 404)
    s3.delete_object(**where)


def test_compliance(s3, cluster, prefix):
    until = days(5)
    where = put(s3, cluster, prefix + "k", ObjectLockMode="COMPLIANCE", ObjectLockRetainUntilDate=until)
    assert refused(s3.delete_object, **where, BypassGovernanceRetention=True) == ("AccessDenied", 403)
    for retention in [{"Mode": "COMPLIANCE", "RetainUntilDate": days(4)}, {"Mode": "GOVERNANCE", "RetainUntilDate": days(9)}, {}]:
        answer = refused(s3.put_object_retention, **where, Retention=retention, BypassGovernanceRetention=True)
        assert answer == ("AccessDenied", 403)
    s3.put_object_retention(**where, Retention={"Mode": "COMPLIANCE", "RetainUntilDate": days(6)})
    # It can be hidden and overwritten.
    marker = s3.delete_object(Bucket=where["Bucket"], Key=where["Key"])
    assert marker["DeleteMarker"] is True
    put(s3, cluster, where["Key"])
    assert s3.get_object(**where)["ObjectLockMode"] == "COMPLIANCE"


def test_legal_hold(s3, cluster, prefix):
    where = put(s3, cluster, prefix + "k")
    assert refused(s3.get_object_legal_hold, **where) == ("NoSuchObjectLockConfiguration", 404)
    s3.put_object_legal_hold(**where, LegalHold={"Status": "ON"})
    assert s3.get_object_legal_hold(**where)["LegalHold"] == {"Status": "ON"}
    assert refused(s3.delete_object, **where, BypassGovernanceRetention=True) == ("AccessDenied", 403)
    s3.put_object_legal_hold(**where, LegalHold={"Status": "OFF"})
    assert s3.get_object_legal_hold(**where)["LegalHold"] == {"Status": "OFF"}
    assert s3.head_object(**where)["ObjectLockLegalHoldStatus"] == "OFF"
    s3.delete_object(**where)


def test_delete_objects(s3, cluster, prefix):
    locked = put(s3, cluster, prefix + "a", ObjectLockLegalHoldStatus="ON")
    governed = put(s3, cluster, prefix + "b", ObjectLockMode="GOVERNANCE", ObjectLockRetainUntilDate=days(3))
    free = put(s3, cluster, prefix + "c")
    delete = {"Objects": [{"Key": where["Key"], "VersionId": where["VersionId"]} for where in (locked, governed, free)]}
    answer = s3.delete_objects(Bucket=cluster.locked, Delete=delete)
    assert [deleted["Key"] for deleted in answer["Deleted"]] == [free["Key"]]
    assert {(error["Key"], error["Code"]) for error in answer["Errors"]} == {
        (locked["Key"], "AccessDenied"),
        (governed["Key"], "AccessDenied"),
    }
    answer = s3.delete_objects(Bucket=cluster.locked, Delete=delete, BypassGovernanceRetention=True)
    assert [error["Key"] for error in answer["Errors"]] == [locked["Key"]]
    s3.put_object_legal_hold(**locked, LegalHold={"Status": "OFF"})
    s3.delete_object(**locked)


def test_multipart_and_copy(s3, cluster, prefix):
    where = {"Bucket": cluster.locked, "Key": prefix + "k"}
    until = days(2)
    upload = s3.create_multipart_upload(**where, ObjectLockMode="GOVERNANCE", ObjectLockRetainUntilDate=until)
    named = {**where, "UploadId": upload["UploadId"]}
    etag = s3.upload_part(**named, PartNumber=1, Body=os.urandom(1000))["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
    version = s3.complete_multipart_upload(**named, MultipartUpload=parts)["VersionId"]
    assert s3.get_object_retention(**where)["Retention"]["RetainUntilDate"] == until
    source = {**where, "VersionId": version}
    copy = s3.copy_object(Bucket=cluster.locked, Key=prefix + "copy", CopySource=source)
    head = s3.head_object(Bucket=cluster.locked, Key=prefix + "copy", VersionId=copy["VersionId"])
    assert "ObjectLockMode" not in head, "a copy does not inherit it"
    s3.delete_object(**source, BypassGovernanceRetention=True)


def test_what_the_bucket_says(s3, cluster):
    got = s3.get_object_lock_configuration(Bucket=cluster.locked)
    assert got["ObjectLockConfiguration"] == {"ObjectLockEnabled": "Enabled"}
    suspend = {"Status": "Suspended"}
    answer = refused(s3.put_bucket_versioning, Bucket=cluster.locked, VersioningConfiguration=suspend)
    assert answer == ("InvalidBucketState", 409)
    enabled = {"ObjectLockEnabled": "Enabled"}
    answer = refused(s3.put_object_lock_configuration, Bucket=cluster.locked, ObjectLockConfiguration=enabled)
    assert answer == ("AccessDenied", 403), "it is declared"


def test_elsewhere_there_is_none(s3, cluster, prefix):
    where = {"Bucket": cluster.bucket, "Key": prefix + "k"}
    assert refused(s3.put_object, **where, Body=b"x", ObjectLockLegalHoldStatus="ON") == ("InvalidRequest", 400)
    s3.put_object(**where, Body=b"x")
    assert refused(s3.get_object_retention, **where) == ("InvalidRequest", 400)
    assert refused(s3.put_object_legal_hold, **where, LegalHold={"Status": "ON"}) == ("InvalidRequest", 400)
