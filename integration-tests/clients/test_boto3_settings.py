"""boto3 and awscli: what tools ask of a bucket and its ACLs; the answers are those of an ordinary new bucket."""

import pytest
from botocore.exceptions import ClientError

from test_awscli import aws
from test_boto3_objects import code


def test_what_is_set(s3, cluster):
    bucket = {"Bucket": cluster.bucket}
    rules = s3.get_bucket_ownership_controls(**bucket)["OwnershipControls"]["Rules"]
    assert rules == [{"ObjectOwnership": "BucketOwnerEnforced"}]
    assert set(s3.get_public_access_block(**bucket)["PublicAccessBlockConfiguration"].values()) == {True}
    assert s3.get_bucket_request_payment(**bucket)["Payer"] == "BucketOwner"
    assert "LoggingEnabled" not in s3.get_bucket_logging(**bucket)
    assert "Status" not in s3.get_bucket_accelerate_configuration(**bucket)
    answer = s3.get_bucket_notification_configuration(**bucket)
    assert set(answer) == {"ResponseMetadata"}


@pytest.mark.parametrize(
    "operation, wrong",
    [
        ("get_bucket_tagging", "NoSuchTagSet"),
        ("get_bucket_policy", "NoSuchBucketPolicy"),
        ("get_bucket_policy_status", "NoSuchBucketPolicy"),
        ("get_bucket_lifecycle_configuration", "NoSuchLifecycleConfiguration"),
        ("get_bucket_cors", "NoSuchCORSConfiguration"),
        ("get_bucket_website", "NoSuchWebsiteConfiguration"),
        ("get_bucket_replication", "ReplicationConfigurationNotFoundError"),
        ("get_bucket_encryption", "ServerSideEncryptionConfigurationNotFoundError"),
        ("get_object_lock_configuration", "ObjectLockConfigurationNotFoundError"),
    ],
)
def test_what_is_not(s3, cluster, operation, wrong):
    with pytest.raises(ClientError) as error:
        getattr(s3, operation)(Bucket=cluster.bucket)
    assert code(error) == (wrong, 404)


def test_what_is_so_may_be_set(s3, cluster):
    """What Terraform does with a new bucket, and takes back."""
    where = {"Bucket": cluster.versioned}
    names = ["BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"]
    block = dict.fromkeys(names, True)
    s3.put_public_access_block(**where, PublicAccessBlockConfiguration=block)
    assert s3.get_public_access_block(**where)["PublicAccessBlockConfiguration"] == block
    rules = {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    s3.put_bucket_ownership_controls(**where, OwnershipControls=rules)
    assert s3.get_bucket_ownership_controls(**where)["OwnershipControls"] == rules
    s3.put_bucket_notification_configuration(**where, NotificationConfiguration={})
    s3.delete_bucket_policy(**where)
    for call, more, wrong in [
        (s3.put_public_access_block, {"PublicAccessBlockConfiguration": {names[0]: False}}, ("NotImplemented", 501)),
        (s3.put_bucket_policy, {"Policy": "{}"}, ("NotImplemented", 501)),
        (s3.delete_public_access_block, {}, ("NoSuchPublicAccessBlockConfiguration", 404)),
        (s3.delete_bucket_ownership_controls, {}, ("OwnershipControlsNotFoundError", 404)),
        (s3.get_bucket_versioning, {"ExpectedBucketOwner": "123456789012"}, ("AccessDenied", 403)),
    ]:
        with pytest.raises(ClientError) as error:
            call(**where, **more)
        assert code(error) == wrong


def test_acls(s3, cluster, prefix):
    where = {"Bucket": cluster.bucket, "Key": prefix + "x"}
    s3.put_object(**where, Body=b"x")
    for get, put, at in [
        (s3.get_bucket_acl, s3.put_bucket_acl, {"Bucket": cluster.bucket}),
        (s3.get_object_acl, s3.put_object_acl, where),
    ]:
        acl = get(**at)
        [grant] = acl["Grants"]
        assert grant["Permission"] == "FULL_CONTROL"
        assert grant["Grantee"] == {"ID": acl["Owner"]["ID"], "Type": "CanonicalUser"}
        put(**at, ACL="private")
        put(**at, AccessControlPolicy={"Grants": acl["Grants"], "Owner": acl["Owner"]})
        for refused in [{"ACL": "public-read"}, {"GrantRead": 'id="somebody"'}]:
            with pytest.raises(ClientError) as error:
                put(**at, **refused)
            assert code(error) == ("AccessControlListNotSupported", 400)
    with pytest.raises(ClientError) as error:
        s3.get_object_acl(Bucket=cluster.bucket, Key=prefix + "nothing")
    assert code(error) == ("NoSuchKey", 404)


def test_awscli(cluster, environment, tmp_path, prefix):
    (tmp_path / "x").write_bytes(b"0123456789")
    where = ["--bucket", cluster.bucket, "--key", f"{prefix}x"]
    aws(cluster, environment, "s3api", "put-object", *where, "--body", str(tmp_path / "x"), "--tagging", "a=1")
    assert '"Value": "1"' in aws(cluster, environment, "s3api", "get-object-tagging", *where)
    tagging = "TagSet=[{Key=b,Value=two words}]"
    aws(cluster, environment, "s3api", "put-object-tagging", *where, "--tagging", tagging)
    assert '"Value": "two words"' in aws(cluster, environment, "s3api", "get-object-tagging", *where)
    aws(cluster, environment, "s3api", "delete-object-tagging", *where)
    assert '"TagSet": []' in aws(cluster, environment, "s3api", "get-object-tagging", *where)
    attributes = ["--object-attributes", "ETag", "ObjectSize"]
    assert '"ObjectSize": 10' in aws(cluster, environment, "s3api", "get-object-attributes", *where, *attributes)
    assert "FULL_CONTROL" in aws(cluster, environment, "s3api", "get-object-acl", *where)
    aws(cluster, environment, "s3api", "get-bucket-cors", "--bucket", cluster.bucket, ok=False)
