"""boto3, awscli and rclone: buckets that clients make, and CORS rules that they set."""

import pytest
import requests
from botocore.exceptions import ClientError

from conftest import client
from test_awscli import aws
from test_boto3_objects import code


@pytest.fixture
def maker(cluster):
    return client(cluster.endpoint, cluster.maker_key, cluster.maker_secret)


def test_made_used_and_deleted(maker, s3, cluster):
    maker.create_bucket(Bucket="made-by-boto3", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    assert [bucket["Name"] for bucket in maker.list_buckets()["Buckets"]] == [cluster.other, "made-by-boto3"]
    maker.head_bucket(Bucket="made-by-boto3")
    maker.create_bucket(Bucket="made-by-boto3")
    with pytest.raises(maker.exceptions.BucketAlreadyExists):
        maker.create_bucket(Bucket=cluster.bucket)
    maker.put_object(Bucket="made-by-boto3", Key="k", Body=b"x")
    assert maker.get_object(Bucket="made-by-boto3", Key="k")["Body"].read() == b"x"
    for other in [s3.get_object, s3.head_object]:
        with pytest.raises(ClientError) as error:
            other(Bucket="made-by-boto3", Key="k")
        assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    with pytest.raises(ClientError) as error:
        maker.delete_bucket(Bucket="made-by-boto3")
    assert code(error) == ("BucketNotEmpty", 409)
    maker.delete_object(Bucket="made-by-boto3", Key="k")
    maker.delete_bucket(Bucket="made-by-boto3")
    with pytest.raises(ClientError) as error:
        maker.head_bucket(Bucket="made-by-boto3")
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 404
    with pytest.raises(ClientError) as error:
        s3.create_bucket(Bucket="not-allowed")
    assert code(error) == ("AccessDenied", 403)


def test_cors(maker, s3, cluster):
    where = {"Bucket": cluster.other}
    rule = {"ID": "app", "AllowedOrigins": ["https://*.example.com"], "AllowedMethods": ["GET", "PUT"]}
    rule.update({"AllowedHeaders": ["*"], "ExposeHeaders": ["ETag"], "MaxAgeSeconds": 60})
    maker.put_bucket_cors(**where, CORSConfiguration={"CORSRules": [rule]})
    assert maker.get_bucket_cors(**where)["CORSRules"] == [rule]
    ask = {"Origin": "https://app.example.com", "Access-Control-Request-Method": "PUT"}
    url = f"{cluster.endpoint}/{cluster.other}/k"
    answer = requests.options(url, headers=ask, timeout=60)
    assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (200, ask["Origin"])
    with pytest.raises(ClientError) as error:
        s3.put_bucket_cors(**where, CORSConfiguration={"CORSRules": [rule]})
    assert code(error) == ("AccessDenied", 403)
    maker.delete_bucket_cors(**where)
    assert requests.options(url, headers=ask, timeout=60).status_code == 403
    with pytest.raises(ClientError) as error:
        maker.get_bucket_cors(**where)
    assert code(error) == ("NoSuchCORSConfiguration", 404)


def test_awscli(cluster, environment, tmp_path):
    maker = {**environment, "AWS_ACCESS_KEY_ID": cluster.maker_key, "AWS_SECRET_ACCESS_KEY": cluster.maker_secret}
    (tmp_path / "x").write_bytes(b"0123456789")
    aws(cluster, maker, "s3", "mb", "s3://made-by-awscli")
    aws(cluster, maker, "s3", "cp", str(tmp_path / "x"), "s3://made-by-awscli/x")
    assert "10 x" in aws(cluster, maker, "s3", "ls", "s3://made-by-awscli")
    aws(cluster, maker, "s3", "rb", "s3://made-by-awscli", ok=False)
    aws(cluster, maker, "s3", "rb", "s3://made-by-awscli", "--force")
    assert "made-by-awscli" not in aws(cluster, maker, "s3", "ls")
