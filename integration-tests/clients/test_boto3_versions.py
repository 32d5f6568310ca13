"""boto3: versioned buckets, as the S3 pages on versioning have them: enabled, suspended, back."""

import os

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from test_boto3_objects import code


def turn(s3, cluster, status):
    s3.put_bucket_versioning(Bucket=cluster.versioned, VersioningConfiguration={"Status": status})
    assert s3.get_bucket_versioning(Bucket=cluster.versioned)["Status"] == status


def rows(s3, cluster, prefix, **page):
    """(key, version, marker, latest), the newest of a key first."""
    found = []
    for part in s3.get_paginator("list_object_versions").paginate(
        Bucket=cluster.versioned, Prefix=prefix, PaginationConfig=page
    ):
        mixed = [(v["Key"], v["VersionId"], False, v["IsLatest"], v["LastModified"]) for v in part.get("Versions", [])]
        mixed += [(m["Key"], m["VersionId"], True, m["IsLatest"], m["LastModified"]) for m in part.get("DeleteMarkers", [])]
        found += [row[:4] for row in mixed]
    return found


def test_versions_of_a_key(s3, cluster, prefix):
    turn(s3, cluster, "Enabled")
    where = {"Bucket": cluster.versioned, "Key": prefix + "k"}
    bodies = [os.urandom(100 + n) for n in range(5)]
    ids = [s3.put_object(**where, Body=body)["VersionId"] for body in bodies]
    assert len(set(ids)) == 5
    for body, version in zip(bodies, ids):
        got = s3.get_object(**where, VersionId=version)
        assert (got["Body"].read(), got["VersionId"]) == (body, version)
        head = s3.head_object(**where, VersionId=version)
        assert (head["ContentLength"], head["VersionId"]) == (len(body), version)
        attributes = s3.get_object_attributes(**where, VersionId=version, ObjectAttributes=["ObjectSize"])
        assert (attributes["ObjectSize"], attributes["VersionId"]) == (len(body), version)
    got = s3.get_object(**where, Range="bytes=1-3", VersionId=ids[0])
    assert got["Body"].read() == bodies[0][1:4]
    assert [row[1] for row in rows(s3, cluster, prefix)] == ids[::-1]
    assert [row[3] for row in rows(s3, cluster, prefix, PageSize=2)] == [True, False, False, False, False]

    marker = s3.delete_object(**where)
    assert marker["DeleteMarker"] is True
    with pytest.raises(ClientError) as error:
        s3.get_object(**where)
    assert code(error) == ("NoSuchKey", 404)
    headers = error.value.response["ResponseMetadata"]["HTTPHeaders"]
    assert (headers["x-amz-delete-marker"], headers["x-amz-version-id"]) == ("true", marker["VersionId"])
    with pytest.raises(ClientError) as error:
        s3.get_object(**where, VersionId=marker["VersionId"])
    assert code(error) == ("MethodNotAllowed", 405)
    assert error.value.response["ResponseMetadata"]["HTTPHeaders"]["x-amz-delete-marker"] == "true"
    with pytest.raises(ClientError) as error:
        s3.head_object(**where, VersionId=marker["VersionId"])
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 405
    assert "Contents" not in s3.list_objects_v2(Bucket=cluster.versioned, Prefix=prefix)

    # The last version is back without the marker, and gone for good when it is named.
    undone = s3.delete_object(**where, VersionId=marker["VersionId"])
    assert (undone["DeleteMarker"], undone["VersionId"]) == (True, marker["VersionId"])
    assert s3.get_object(**where)["Body"].read() == bodies[-1]
    gone = s3.delete_object(**where, VersionId=ids[-1])
    assert gone["VersionId"] == ids[-1] and "DeleteMarker" not in gone
    assert s3.get_object(**where)["Body"].read() == bodies[-2]
    with pytest.raises(ClientError) as error:
        s3.get_object(**where, VersionId=ids[-1])
    assert code(error) == ("NoSuchVersion", 404)
    s3.delete_object(**where, VersionId=ids[-1])
    with pytest.raises(ClientError) as error:
        s3.get_object(**where, VersionId="no-version")
    assert code(error) == ("InvalidArgument", 400)


def test_the_null_version(s3, cluster, prefix):
    where = {"Bucket": cluster.versioned, "Key": prefix + "k"}
    turn(s3, cluster, "Suspended")
    assert s3.put_object(**where, Body=b"null 1")["VersionId"] == "null"
    turn(s3, cluster, "Enabled")
    version = s3.put_object(**where, Body=b"version")["VersionId"]
    assert s3.get_object(**where, VersionId="null")["Body"].read() == b"null 1"
    turn(s3, cluster, "Suspended")
    s3.put_object(**where, Body=b"null 2")
    assert [row[1] for row in rows(s3, cluster, prefix)] == ["null", version]
    assert s3.get_object(**where)["Body"].read() == b"null 2"
    marker = s3.delete_object(**where)
    assert (marker["DeleteMarker"], marker["VersionId"]) == (True, "null")
    assert sorted(row[1:] for row in rows(s3, cluster, prefix)) == sorted(
        [("null", True, True), (version, False, False)]
    )
    turn(s3, cluster, "Enabled")
    s3.delete_object(**where, VersionId="null")
    assert s3.get_object(**where)["Body"].read() == b"version"


def test_listing(s3, cluster, prefix):
    turn(s3, cluster, "Enabled")
    keys = [prefix + name for name in ["a", "b/1", "b/2", "c ü&+", "d/x"]]
    for key in keys:
        for n in range(3):
            s3.put_object(Bucket=cluster.versioned, Key=key, Body=b"%d" % n)
    s3.delete_object(Bucket=cluster.versioned, Key=keys[0])
    expected = [key for key in sorted(keys, key=lambda key: key.encode()) for _ in range(3)]
    for page in (1, 2, 7, 1000):
        listed = rows(s3, cluster, prefix, PageSize=page)
        assert [row[0] for row in listed if not row[2]] == expected
        assert [row[0] for row in listed if row[2]] == [keys[0]]
        assert len([row for row in listed if row[3]]) == 5
    for page in (1, 2, 1000):
        paginator = s3.get_paginator("list_object_versions")
        pages = list(
            paginator.paginate(
                Bucket=cluster.versioned, Prefix=prefix, Delimiter="/", PaginationConfig={"PageSize": page}
            )
        )
        common = [entry["Prefix"] for part in pages for entry in part.get("CommonPrefixes", [])]
        assert common == [prefix + "b/", prefix + "d/"]
        names = [entry["Key"] for part in pages for entry in part.get("Versions", [])]
        assert names == [keys[0]] * 3 + [keys[3]] * 3
    part = s3.list_object_versions(Bucket=cluster.versioned, Prefix=prefix, KeyMarker=keys[1], EncodingType="url")
    assert len(part["Versions"]) == 9
    first = s3.list_object_versions(Bucket=cluster.versioned, Prefix=keys[1])["Versions"][0]
    part = s3.list_object_versions(
        Bucket=cluster.versioned, Prefix=prefix, KeyMarker=keys[1], VersionIdMarker=first["VersionId"]
    )
    assert len(part["Versions"]) == 11


def test_copies_and_tags(s3, cluster, prefix):
    turn(s3, cluster, "Enabled")
    where = {"Bucket": cluster.versioned, "Key": prefix + "k"}
    old = s3.put_object(**where, Body=b"old", Tagging="t=old", Metadata={"m": "old"})["VersionId"]
    new = s3.put_object(**where, Body=b"new", Tagging="t=new")["VersionId"]
    target = {"Bucket": cluster.bucket, "Key": prefix + "copy"}
    copied = s3.copy_object(**target, CopySource={**where, "VersionId": old})
    assert copied["CopySourceVersionId"] == old and "VersionId" not in copied
    got = s3.get_object(**target)
    assert (got["Body"].read(), got["Metadata"]) == (b"old", {"m": "old"})
    # The way to restore a version.
    restored = s3.copy_object(**where, CopySource={**where, "VersionId": old})
    assert restored["VersionId"] not in (old, new)
    assert s3.get_object(**where)["Body"].read() == b"old"
    assert s3.get_object_tagging(**where, VersionId=new)["TagSet"] == [{"Key": "t", "Value": "new"}]
    put = s3.put_object_tagging(**where, VersionId=old, Tagging={"TagSet": [{"Key": "t", "Value": "x"}]})
    assert put["VersionId"] == old
    assert s3.get_object_tagging(**where, VersionId=old)["TagSet"] == [{"Key": "t", "Value": "x"}]
    assert s3.delete_object_tagging(**where, VersionId=old)["VersionId"] == old
    assert s3.get_object_tagging(**where, VersionId=old)["TagSet"] == []


def test_conditions_and_multipart(s3, cluster, prefix):
    turn(s3, cluster, "Enabled")
    where = {"Bucket": cluster.versioned, "Key": prefix + "k"}
    s3.put_object(**where, Body=b"x", IfNoneMatch="*")
    with pytest.raises(ClientError) as error:
        s3.put_object(**where, Body=b"x", IfNoneMatch="*")
    assert code(error) == ("PreconditionFailed", 412)
    s3.delete_object(**where)
    s3.put_object(**where, Body=b"again", IfNoneMatch="*")
    body = os.urandom(6 << 20)
    upload = s3.create_multipart_upload(**where)["UploadId"]
    parts = []
    for number, piece in enumerate([body[: 5 << 20], body[5 << 20 :]], start=1):
        etag = s3.upload_part(**where, UploadId=upload, PartNumber=number, Body=piece)["ETag"]
        parts.append({"PartNumber": number, "ETag": etag})
    done = s3.complete_multipart_upload(**where, UploadId=upload, MultipartUpload={"Parts": parts})
    s3.put_object(**where, Body=b"over it")
    assert s3.get_object(**where, VersionId=done["VersionId"])["Body"].read() == body


def test_a_bucket_is_emptied_as_tools_do(cluster, s3, prefix):
    turn(s3, cluster, "Enabled")
    for n in range(40):
        s3.put_object(Bucket=cluster.versioned, Key=f"{prefix}{n % 8}", Body=b"x")
    for n in range(4):
        s3.delete_object(Bucket=cluster.versioned, Key=f"{prefix}{n}")
    resource = boto3.resource(
        "s3",
        endpoint_url=cluster.endpoint,
        region_name="us-east-1",
        aws_access_key_id=cluster.access_key,
        aws_secret_access_key=cluster.secret_key,
        config=Config(s3={"addressing_style": "path"}),
    )
    # Each page is deleted before the next one is asked for.
    resource.Bucket(cluster.versioned).object_versions.filter(Prefix=prefix).page_size(7).delete()
    assert rows(s3, cluster, prefix) == []


def test_who_may_and_what_is_not(s3, make_client, cluster, prefix):
    with pytest.raises(ClientError) as error:
        s3.put_bucket_versioning(Bucket=cluster.bucket, VersioningConfiguration={"Status": "Enabled"})
    assert code(error) == ("AccessDenied", 403)
    with pytest.raises(ClientError) as error:
        s3.put_bucket_versioning(
            Bucket=cluster.versioned,
            VersioningConfiguration={"Status": "Enabled", "MFADelete": "Enabled"},
            MFA="serial 123456",
        )
    assert code(error) == ("NotImplemented", 501)
    with pytest.raises(ClientError) as error:
        s3.put_bucket_versioning(Bucket=cluster.versioned, VersioningConfiguration={"Status": "Off"})
    assert code(error) == ("IllegalVersioningConfigurationException", 400)
    # Where nothing was ever versioned, each object is its key's null version and nobody says so.
    where = {"Bucket": cluster.bucket, "Key": prefix + "k"}
    assert "VersionId" not in s3.put_object(**where, Body=b"x")
    assert "VersionId" not in s3.head_object(**where)
    listed = s3.list_object_versions(Bucket=cluster.bucket, Prefix=prefix)["Versions"]
    assert [(row["VersionId"], row["IsLatest"]) for row in listed] == [("null", True)]
    assert s3.get_object(**where, VersionId="null")["Body"].read() == b"x"
    s3.delete_object(**where, VersionId="null")
    assert s3.list_object_versions(Bucket=cluster.bucket, Prefix=prefix).get("Versions", []) == []
