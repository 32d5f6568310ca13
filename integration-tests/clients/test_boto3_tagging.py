"""boto3: tags of objects."""

import pytest
from botocore.exceptions import ClientError

from test_boto3_objects import code


def as_dict(answer):
    return {tag["Key"]: tag["Value"] for tag in answer["TagSet"]}


def as_set(tags):
    return {"TagSet": [{"Key": key, "Value": value} for key, value in tags.items()]}


def test_there_and_back(s3, cluster, prefix):
    where = {"Bucket": cluster.bucket, "Key": prefix + "ü +%"}
    s3.put_object(**where, Body=b"x", Tagging="first=1&second%20one=%C3%BC")
    before = s3.head_object(**where)
    assert before["TagCount"] == 2
    assert as_dict(s3.get_object_tagging(**where)) == {"first": "1", "second one": "ü"}
    tags = {"a b+c-d=e.f_g:h/i@j": "1 + 1 = 2", "empty": "", "日本": "語" * 256}
    s3.put_object_tagging(**where, Tagging=as_set(tags))
    assert as_dict(s3.get_object_tagging(**where)) == tags
    after = s3.get_object(**where)
    assert after["TagCount"] == 3
    assert (after["ETag"], after["LastModified"]) == (before["ETag"], before["LastModified"])
    s3.delete_object_tagging(**where)
    assert as_dict(s3.get_object_tagging(**where)) == {}
    assert "TagCount" not in s3.head_object(**where)
    s3.put_object_tagging(**where, Tagging={"TagSet": []})


def test_copies(s3, cluster, prefix):
    source = {"Bucket": cluster.bucket, "Key": prefix + "from"}
    target = {"Bucket": cluster.other, "Key": prefix + "to"}
    s3.put_object(**source, Body=b"x", Tagging="a=1")
    s3.copy_object(**target, CopySource=source)
    assert as_dict(s3.get_object_tagging(**target)) == {"a": "1"}
    s3.copy_object(**target, CopySource=source, TaggingDirective="REPLACE", Tagging="b=2")
    assert as_dict(s3.get_object_tagging(**target)) == {"b": "2"}


@pytest.mark.parametrize(
    "tags, wrong",
    [
        ({f"k{i}": "" for i in range(11)}, "BadRequest"),
        ({"k" * 129: ""}, "InvalidTag"),
        ({"k": "v" * 257}, "InvalidTag"),
        ({"a,b": ""}, "InvalidTag"),
        ({"k": "tab\t"}, "InvalidTag"),
        ({"k": "🙂"}, "InvalidTag"),
        ({"aws:k": ""}, "InvalidTag"),
    ],
    ids=range(7),
)
def test_limits(s3, cluster, prefix, tags, wrong):
    where = {"Bucket": cluster.bucket, "Key": prefix + "x"}
    s3.put_object(**where, Body=b"x", Tagging="kept=1")
    with pytest.raises(ClientError) as error:
        s3.put_object_tagging(**where, Tagging=as_set(tags))
    assert code(error) == (wrong, 400)
    assert as_dict(s3.get_object_tagging(**where)) == {"kept": "1"}


def test_errors(s3, cluster, prefix):
    from conftest import client

    where = {"Bucket": cluster.bucket, "Key": prefix + "nothing"}
    calls = [s3.get_object_tagging, s3.delete_object_tagging, lambda **w: s3.put_object_tagging(**w, Tagging=as_set({"a": "1"}))]
    for call in calls:
        with pytest.raises(ClientError) as error:
            call(**where)
        assert code(error) == ("NoSuchKey", 404)
    s3.put_object(**where, Body=b"x")
    reader = client(cluster.endpoint, cluster.reader_key, cluster.reader_secret)
    assert as_dict(reader.get_object_tagging(**where)) == {}
    for call in [reader.delete_object_tagging, lambda **w: reader.put_object_tagging(**w, Tagging=as_set({"a": "1"}))]:
        with pytest.raises(ClientError) as error:
            call(**where)
        assert code(error) == ("AccessDenied", 403)
    for header, wrong in [("a=1&a=2", "InvalidArgument"), ("a%2Cb=1", "InvalidTag")]:
        with pytest.raises(ClientError) as error:
            s3.put_object(**where, Body=b"x", Tagging=header)
        assert code(error) == (wrong, 400)


def test_duplicates_and_checksums(make_client, cluster, prefix):
    where = {"Bucket": cluster.bucket, "Key": prefix + "x"}
    s3 = make_client(request_checksum_calculation="when_required")
    s3.put_object(**where, Body=b"x")
    twice = {"TagSet": [{"Key": "a", "Value": "1"}, {"Key": "a", "Value": "2"}]}
    with pytest.raises(ClientError) as error:
        s3.put_object_tagging(**where, Tagging=twice)
    assert code(error) == ("InvalidTag", 400)
    for algorithm in ["CRC32", "SHA256"]:
        s3.put_object_tagging(**where, Tagging=as_set({"by": algorithm}), ChecksumAlgorithm=algorithm)
        assert as_dict(s3.get_object_tagging(**where)) == {"by": algorithm}
