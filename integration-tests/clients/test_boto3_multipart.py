"""boto3's transfers: multipart uploads, copies and downloads as its manager makes them."""

import base64
import hashlib
import io
import os

import pytest
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

MIB = 1024 * 1024
PARTS = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB, max_concurrency=4)


def etag_of(body, size):
    digests = [hashlib.md5(body[at : at + size]).digest() for at in range(0, len(body), size)]
    return f'"{hashlib.md5(b"".join(digests)).hexdigest()}-{len(digests)}"'


@pytest.mark.parametrize("calculation", ["when_required", "when_supported"])
def test_upload_download_copy(make_client, cluster, prefix, calculation):
    s3 = make_client(request_checksum_calculation=calculation, response_checksum_validation=calculation)
    body = os.urandom(17 * MIB + 123)
    key = prefix + calculation
    extra = {"ContentType": "text/x", "Metadata": {"a": "1"}}
    s3.upload_fileobj(io.BytesIO(body), cluster.bucket, key, ExtraArgs=extra, Config=PARTS)
    head = s3.head_object(Bucket=cluster.bucket, Key=key)
    assert (head["ContentLength"], head["ContentType"], head["Metadata"]) == (len(body), "text/x", {"a": "1"})
    assert head["ETag"] == etag_of(body, 5 * MIB)
    back = io.BytesIO()
    s3.download_fileobj(cluster.bucket, key, back, Config=PARTS)
    assert back.getvalue() == body
    # UploadPartCopy, part by part.
    s3.copy({"Bucket": cluster.bucket, "Key": key}, cluster.bucket, key + "-copy", Config=PARTS)
    assert s3.get_object(Bucket=cluster.bucket, Key=key + "-copy")["Body"].read() == body
    # CopyObject: the copy came whole.
    s3.copy_object(Bucket=cluster.bucket, Key=key + "-one", CopySource={"Bucket": cluster.bucket, "Key": key})
    assert s3.head_object(Bucket=cluster.bucket, Key=key + "-one")["ETag"] == f'"{hashlib.md5(body).hexdigest()}"'


def test_part_by_part(s3, cluster, prefix):
    where = {"Bucket": cluster.bucket, "Key": prefix + "parts"}
    upload = s3.create_multipart_upload(**where, ChecksumAlgorithm="SHA256")
    where["UploadId"] = upload["UploadId"]
    listed = s3.list_multipart_uploads(Bucket=cluster.bucket, Prefix=prefix)["Uploads"]
    assert [(one["Key"], one["UploadId"]) for one in listed] == [(where["Key"], where["UploadId"])]
    bodies = [os.urandom(5 * MIB), b"the last"]
    parts = []
    for number, body in enumerate(bodies, 1):
        put = s3.upload_part(**where, PartNumber=number, Body=body, ChecksumAlgorithm="SHA256")
        parts.append({"PartNumber": number, "ETag": put["ETag"], "ChecksumSHA256": put["ChecksumSHA256"]})
    stored = s3.list_parts(**where)["Parts"]
    assert [(part["PartNumber"], part["Size"], part["ETag"]) for part in stored] == [
        (part["PartNumber"], len(body), part["ETag"]) for part, body in zip(parts, bodies)
    ]
    done = s3.complete_multipart_upload(**where, MultipartUpload={"Parts": parts})
    assert done["ChecksumSHA256"].endswith("-2") and done["ChecksumType"] == "COMPOSITE"
    assert done["Location"].endswith(where["Key"].rsplit("/", 1)[1])
    again = s3.complete_multipart_upload(**where, MultipartUpload={"Parts": parts})
    assert again["ETag"] == done["ETag"]
    del where["UploadId"]
    second = s3.get_object(**where, PartNumber=2)
    assert (second["Body"].read(), second["PartsCount"]) == (b"the last", 2)
    assert second["ContentRange"] == f"bytes {5 * MIB}-{5 * MIB + 7}/{5 * MIB + 8}"
    attributes = s3.get_object_attributes(**where, ObjectAttributes=["ObjectParts", "Checksum", "ETag"])
    assert attributes["ObjectParts"]["TotalPartsCount"] == 2
    assert attributes["Checksum"]["ChecksumSHA256"] + "-2" == done["ChecksumSHA256"]


@pytest.mark.parametrize(
    "algorithm, kind",
    [
        ("CRC32C", "COMPOSITE"),
        ("SHA256", "COMPOSITE"),
        ("SHA512", "COMPOSITE"),
        ("XXHASH128", "COMPOSITE"),
        ("CRC64NVME", "FULL_OBJECT"),
    ],
)
def test_parts_keep_their_checksums(make_client, cluster, prefix, algorithm, kind):
    # Whatever this client can work out itself: a part gets the upload's checksum all the same.
    s3 = make_client(request_checksum_calculation="when_required")
    where = {"Bucket": cluster.bucket, "Key": prefix + algorithm}
    upload = {**where, "UploadId": s3.create_multipart_upload(**where, ChecksumAlgorithm=algorithm)["UploadId"]}
    bodies = [os.urandom(5 * MIB), os.urandom(5 * MIB), b"the last"]
    for number, body in enumerate(bodies, 1):
        s3.upload_part(**upload, PartNumber=number, Body=body)
    field = f"Checksum{algorithm}"
    stored = s3.list_parts(**upload)["Parts"]
    parts = [{name: part[name] for name in ("PartNumber", "ETag", field)} for part in stored]
    done = s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
    assert done["ChecksumType"] == kind
    kept = [{name: part[name] for name in ("PartNumber", "Size", field)} for part in stored]
    if algorithm.startswith("SHA"):
        sums = [hashlib.new(algorithm, body).digest() for body in bodies]
        assert [part[field] for part in kept] == [base64.b64encode(value).decode() for value in sums]
    got = s3.get_object_attributes(**where, ObjectAttributes=["ObjectParts", "Checksum"])
    # AWS leaves the number of parts out here.
    assert got["Checksum"] == {field: done[field].removesuffix("-3"), "ChecksumType": kind}
    last = s3.get_object(**where, PartNumber=3, ChecksumMode="ENABLED")
    assert (last["Body"].read(), last["PartsCount"]) == (b"the last", 3)
    if kind == "FULL_OBJECT":
        assert got["ObjectParts"] == {"TotalPartsCount": 3}
        assert field not in last
        return
    assert last[field] == kept[2][field]
    assert got["ObjectParts"]["Parts"] == kept
    assert (got["ObjectParts"]["TotalPartsCount"], got["ObjectParts"]["IsTruncated"]) == (3, False)
    page = s3.get_object_attributes(**where, ObjectAttributes=["ObjectParts"], MaxParts=1, PartNumberMarker=1)
    page = page["ObjectParts"]
    assert (page["Parts"], page["TotalPartsCount"], page["MaxParts"]) == (kept[1:2], 3, 1)
    assert (page["PartNumberMarker"], page["NextPartNumberMarker"], page["IsTruncated"]) == (1, 2, True)


def test_parts_without_checksums_are_counted(make_client, cluster, prefix):
    s3 = make_client(request_checksum_calculation="when_required")
    where = {"Bucket": cluster.bucket, "Key": prefix + "counted"}
    upload = {**where, "UploadId": s3.create_multipart_upload(**where)["UploadId"]}
    etag = s3.upload_part(**upload, PartNumber=1, Body=b"one")["ETag"]
    s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag}]})
    got = s3.get_object_attributes(**where, ObjectAttributes=["ObjectParts"])
    assert got["ObjectParts"] == {"TotalPartsCount": 1}


def test_mistakes(s3, cluster, prefix):
    where = {"Bucket": cluster.bucket, "Key": prefix + "wrong"}
    upload = s3.create_multipart_upload(**where)
    where["UploadId"] = upload["UploadId"]
    small = [s3.upload_part(**where, PartNumber=n, Body=b"small")["ETag"] for n in (1, 2)]

    def complete(*parts):
        listed = {"Parts": [{"PartNumber": number, "ETag": etag} for number, etag in parts]}
        with pytest.raises(ClientError) as error:
            s3.complete_multipart_upload(**where, MultipartUpload=listed)
        return error.value.response["Error"]["Code"]

    assert complete((1, small[0]), (2, small[1])) == "EntityTooSmall"
    assert complete((2, small[1]), (1, small[0])) == "InvalidPartOrder"
    assert complete((1, '"0123456789abcdef0123456789abcdef"')) == "InvalidPart"
    s3.abort_multipart_upload(**where)
    assert complete((1, small[0])) == "NoSuchUpload"
    with pytest.raises(ClientError) as error:
        s3.list_parts(**where)
    assert error.value.response["Error"]["Code"] == "NoSuchUpload"
