"""boto3: GetObjectAttributes, and checksums where S3 tells them."""

import hashlib
import os

import pytest
from botocore.exceptions import ClientError

from test_boto3_objects import code

ALL = ["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"]


@pytest.mark.parametrize("algorithm", ["CRC32", "SHA1", "SHA256"])
def test_attributes(s3, cluster, prefix, algorithm):
    body = os.urandom(1000)
    where = {"Bucket": cluster.bucket, "Key": prefix + "x"}
    put = s3.put_object(**where, Body=body, ChecksumAlgorithm=algorithm)
    assert put["ChecksumType"] == "FULL_OBJECT"
    got = s3.get_object_attributes(**where, ObjectAttributes=ALL)
    assert (got["ETag"], got["ObjectSize"]) == (hashlib.md5(body).hexdigest(), 1000)
    field = f"Checksum{algorithm}"
    assert got["Checksum"] == {field: put[field], "ChecksumType": "FULL_OBJECT"}
    assert (got["StorageClass"], "ObjectParts" in got) == ("STANDARD", False)
    assert got["LastModified"] == s3.head_object(**where)["LastModified"]
    only = s3.get_object_attributes(**where, ObjectAttributes=["ObjectSize"])
    assert only["ObjectSize"] == 1000 and "ETag" not in only and "Checksum" not in only


def test_nothing_is_made_up(make_client, cluster, prefix):
    s3 = make_client(request_checksum_calculation="when_required")
    where = {"Bucket": cluster.bucket, "Key": prefix + "x"}
    s3.put_object(**where, Body=b"plain", StorageClass="STANDARD_IA")
    got = s3.get_object_attributes(**where, ObjectAttributes=ALL)
    assert got["StorageClass"] == "STANDARD_IA" and "Checksum" not in got
    with pytest.raises(ClientError) as error:
        s3.get_object_attributes(**{**where, "Key": prefix + "nothing"}, ObjectAttributes=ALL)
    assert code(error) == ("NoSuchKey", 404)
    with pytest.raises(ClientError) as error:
        s3.get_object_attributes(**where, ObjectAttributes=["Owner"])
    assert code(error) == ("InvalidArgument", 400)


def test_copies_have_checksums(s3, cluster, prefix):
    source = {"Bucket": cluster.bucket, "Key": prefix + "from"}
    target = {"Bucket": cluster.other, "Key": prefix + "to"}
    put = s3.put_object(**source, Body=b"copied", ChecksumAlgorithm="CRC32")
    copied = s3.copy_object(**target, CopySource=source)["CopyObjectResult"]
    assert (copied["ChecksumCRC32"], copied["ChecksumType"]) == (put["ChecksumCRC32"], "FULL_OBJECT")
    copied = s3.copy_object(**target, CopySource=source, ChecksumAlgorithm="SHA256")["CopyObjectResult"]
    head = s3.head_object(**target, ChecksumMode="ENABLED")
    assert head["ChecksumSHA256"] == copied["ChecksumSHA256"]
    assert head["ChecksumType"] == "FULL_OBJECT"
