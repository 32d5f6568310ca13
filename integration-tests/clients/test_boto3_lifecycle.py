"""boto3: lifecycle rules that clients set, and what writers and readers of an object are told of them."""

import datetime

import pytest
from botocore.exceptions import ClientError

from conftest import client
from test_boto3_objects import code

BUCKET = "lifecycle-by-boto3"
DAYS = {
    "ID": "three days",
    "Status": "Enabled",
    "Filter": {"Prefix": "short/"},
    "Expiration": {"Days": 3},
}
TAGGED = {
    "ID": "tagged",
    "Status": "Enabled",
    "Filter": {"And": {"Prefix": "", "Tags": [{"Key": "keep", "Value": "no"}], "ObjectSizeGreaterThan": 5}},
    "Expiration": {"Date": datetime.datetime(2099, 1, 31, tzinfo=datetime.timezone.utc)},
}


@pytest.fixture(scope="module")
def owner(cluster):
    # One bucket for all tests: a name is free again only when what was in its bucket is gone.
    owner = client(cluster.endpoint, cluster.maker_key, cluster.maker_secret)
    owner.create_bucket(Bucket=BUCKET)
    yield owner
    owner.delete_bucket(Bucket=BUCKET)


@pytest.fixture
def maker(owner):
    yield owner
    owner.delete_bucket_lifecycle(Bucket=BUCKET)
    for listed in owner.list_objects_v2(Bucket=BUCKET).get("Contents", []):
        owner.delete_object(Bucket=BUCKET, Key=listed["Key"])
    for left in owner.list_multipart_uploads(Bucket=BUCKET).get("Uploads", []):
        owner.abort_multipart_upload(Bucket=BUCKET, Key=left["Key"], UploadId=left["UploadId"])


def rules(maker, *wanted):
    return maker.put_bucket_lifecycle_configuration(Bucket=BUCKET, LifecycleConfiguration={"Rules": list(wanted)})


def test_set_shown_and_removed(maker, s3):
    where = {"Bucket": BUCKET}
    put = rules(maker, DAYS, {**TAGGED, "Filter": {"Tag": {"Key": "keep", "Value": "no"}}})
    answer = maker.get_bucket_lifecycle_configuration(**where)
    # Terraform waits for it.
    for told in [put, answer]:
        assert told["TransitionDefaultMinimumObjectSize"] == "all_storage_classes_128K"
    shown = answer["Rules"]
    assert [rule["ID"] for rule in shown] == ["three days", "tagged"]
    assert shown[0] == DAYS
    assert shown[1]["Expiration"] == TAGGED["Expiration"]
    with pytest.raises(ClientError) as error:
        rules(maker, {**DAYS, "Expiration": {"Days": 0}})
    assert code(error) == ("InvalidArgument", 400)
    with pytest.raises(ClientError) as error:
        s3.get_bucket_lifecycle_configuration(**where)
    assert code(error) == ("AccessDenied", 403)
    maker.delete_bucket_lifecycle(**where)
    with pytest.raises(ClientError) as error:
        maker.get_bucket_lifecycle_configuration(**where)
    assert code(error) == ("NoSuchLifecycleConfiguration", 404)


def test_when_an_object_expires(maker):
    rules(maker, DAYS, TAGGED)
    where = {"Bucket": BUCKET, "Key": "short/k"}
    put = maker.put_object(**where, Body=b"0123456789")
    head = maker.head_object(**where)
    due = (head["LastModified"] + datetime.timedelta(days=4)).strftime("%a, %d %b %Y 00:00:00 GMT")
    assert head["Expiration"] == f'expiry-date="{due}", rule-id="three%20days"'
    assert put["Expiration"] == head["Expiration"] == maker.get_object(**where)["Expiration"]
    tagged = {"Bucket": BUCKET, "Key": "long/k"}
    copy = maker.copy_object(**tagged, CopySource=where, TaggingDirective="REPLACE", Tagging="keep=no")
    assert copy["Expiration"] == 'expiry-date="Sat, 31 Jan 2099 00:00:00 GMT", rule-id="tagged"'
    assert maker.head_object(**tagged)["Expiration"] == copy["Expiration"]
    maker.delete_object_tagging(**tagged)
    assert "Expiration" not in maker.head_object(**tagged)
    named = {**where, "UploadId": maker.create_multipart_upload(**where)["UploadId"]}
    etag = maker.upload_part(**named, PartNumber=1, Body=b"x")["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
    completed = maker.complete_multipart_upload(**named, MultipartUpload=parts)
    assert completed["Expiration"] == maker.head_object(**where)["Expiration"]
    maker.delete_bucket_lifecycle(Bucket=BUCKET)
    assert "Expiration" not in maker.head_object(**where)


def test_when_an_upload_is_given_up(maker):
    rules(maker, {"ID": "r", "Status": "Enabled", "Filter": {}, "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 2}})
    where = {"Bucket": BUCKET, "Key": "short/k"}
    created = maker.create_multipart_upload(**where)
    begun = maker.list_multipart_uploads(Bucket=BUCKET)["Uploads"][0]["Initiated"]
    due = (begun + datetime.timedelta(days=3)).replace(hour=0, minute=0, second=0, microsecond=0)
    parts = maker.list_parts(**where, UploadId=created["UploadId"])
    for told in [created, parts]:
        assert (told["AbortRuleId"], told["AbortDate"]) == ("r", due)
    maker.abort_multipart_upload(**where, UploadId=created["UploadId"])
