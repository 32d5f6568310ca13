"""Uploads by a browser's form: what boto3 signs, sent by requests, curl and a form as browsers write it."""

import os
import subprocess
from xml.etree import ElementTree

import pytest
import requests

HTML = "http://localhost/thanks?from=form"


def fields_of(s3, cluster, key, fields=None, conditions=None, expires=300):
    return s3.generate_presigned_post(
        cluster.bucket, key, Fields=fields, Conditions=conditions, ExpiresIn=expires
    )


def send(post, body, **more):
    return requests.post(
        post["url"], data={**post["fields"], **more}, files={"file": ("name.bin", body)}, timeout=120, allow_redirects=False
    )


def refused(answer):
    code = answer.text.split("<Code>")[1].split("</Code>")[0]
    message = answer.text.split("<Message>")[1].split("</Message>")[0]
    return answer.status_code, code, message.replace("&quot;", '"')


@pytest.fixture
def signer(make_client):
    return make_client(signature_version="s3v4")


@pytest.mark.parametrize("size", [0, 1, 300_000, 20_000_000])
def test_requests(signer, s3, cluster, prefix, size):
    body = os.urandom(size)
    post = fields_of(signer, cluster, f"{prefix}{size}")
    answer = send(post, body)
    assert answer.status_code == 204, answer.text
    got = s3.get_object(Bucket=cluster.bucket, Key=f"{prefix}{size}")
    assert got["Body"].read() == body
    assert got["ETag"] == answer.headers["ETag"]


def test_attributes(signer, s3, cluster, prefix):
    fields = {
        "Content-Type": "text/plain",
        "Cache-Control": "no-store",
        "x-amz-meta-who": "me",
        "tagging": "<Tagging><TagSet><Tag><Key>a b</Key><Value>1&#43;2</Value></Tag></TagSet></Tagging>",
        "success_action_status": "201",
        "acl": "private",
    }
    conditions = [{name: value} for name, value in fields.items()] + [["starts-with", "$key", prefix]]
    post = fields_of(signer, cluster, prefix + "${filename}", fields, conditions)
    answer = send(post, b"hello")
    assert answer.status_code == 201, answer.text
    assert ElementTree.fromstring(answer.text).findtext("Key") == f"{prefix}name.bin"
    where = {"Bucket": cluster.bucket, "Key": prefix + "name.bin"}
    head = s3.head_object(**where)
    assert (head["ContentType"], head["CacheControl"], head["Metadata"]) == ("text/plain", "no-store", {"who": "me"})
    assert s3.get_object_tagging(**where)["TagSet"] == [{"Key": "a b", "Value": "1+2"}]


def test_redirect(signer, cluster, prefix):
    fields = {"success_action_redirect": HTML}
    post = fields_of(signer, cluster, prefix + "k", fields, [fields])
    answer = send(post, b"hello")
    assert answer.status_code == 303, answer.text
    assert answer.headers["Location"].startswith(f"{HTML}&bucket={cluster.bucket}&key=")


def test_what_the_policy_does_not_allow(signer, s3, cluster, prefix):
    ranged = fields_of(signer, cluster, prefix + "k", conditions=[["content-length-range", 2, 4]])
    assert refused(send(ranged, b"12345"))[:2] == (400, "EntityTooLarge")
    assert refused(send(ranged, b"1"))[:2] == (400, "EntityTooSmall")
    assert send(ranged, b"123").status_code == 204
    large = os.urandom(10_000_000)
    assert refused(send(ranged, large))[:2] == (400, "EntityTooLarge")
    post = fields_of(signer, cluster, prefix + "k")
    status, code, message = refused(send({**post, "fields": {**post["fields"], "key": prefix + "other"}}, b"x"))
    assert (status, code) == (403, "AccessDenied")
    assert message.startswith("Invalid according to Policy: Policy Condition failed:"), message
    extra = refused(send(post, b"x", **{"x-amz-meta-more": "1"}))
    assert extra == (403, "AccessDenied", "Invalid according to Policy: Extra input fields: x-amz-meta-more")
    assert send(post, b"x", **{"x-ignore-more": "1"}).status_code == 204
    over = fields_of(signer, cluster, prefix + "k", expires=-10)
    assert refused(send(over, b"x")) == (403, "AccessDenied", "Invalid according to Policy: Policy expired.")
    wrong = {**post, "fields": {**post["fields"], "x-amz-signature": "00" * 32}}
    assert refused(send(wrong, b"x"))[:2] == (403, "SignatureDoesNotMatch")
    other = {**post, "url": f"{cluster.endpoint}/{cluster.other}"}
    assert refused(send(other, b"x"))[:2] == (403, "AccessDenied")
    unsigned = {"url": post["url"], "fields": {"key": prefix + "k"}}
    assert refused(send(unsigned, b"x"))[:2] == (403, "AccessDenied")
    long = fields_of(signer, cluster, prefix + "k" * 1024)
    assert refused(send(long, b"x"))[:2] == (400, "KeyTooLongError")
    # The policy is fine; the key that signed it may not write there.
    readonly = signer.generate_presigned_post(cluster.readonly, prefix + "k")
    assert refused(send(readonly, b"x"))[:2] == (403, "AccessDenied")


def test_a_version_is_named(signer, s3, cluster, prefix):
    s3.put_bucket_versioning(Bucket=cluster.versioned, VersioningConfiguration={"Status": "Enabled"})
    post = signer.generate_presigned_post(cluster.versioned, prefix + "k")
    first, second = (send(post, body).headers["x-amz-version-id"] for body in (b"1", b"2"))
    got = s3.get_object(Bucket=cluster.versioned, Key=prefix + "k", VersionId=first)
    assert got["Body"].read() == b"1"
    assert s3.head_object(Bucket=cluster.versioned, Key=prefix + "k")["VersionId"] == second


def test_curl(signer, s3, cluster, prefix, tmp_path):
    for size in (5, 12_000_000):
        body = os.urandom(size)
        (tmp_path / "upload.bin").write_bytes(body)
        post = fields_of(signer, cluster, prefix + "${filename}", conditions=[["starts-with", "$key", prefix]])
        command = ["curl", "-q", "--silent", "--show-error", "--max-time", "120", "--output", "/dev/null"]
        command += ["--write-out", "%{http_code}"]
        for name, value in post["fields"].items():
            command += ["--form-string", f"{name}={value}"]
        command += ["--form", f"file=@{tmp_path / 'upload.bin'}", post["url"]]
        done = subprocess.run(command, capture_output=True, text=True, timeout=180)
        assert (done.returncode, done.stdout) == (0, "204"), done
        assert s3.get_object(Bucket=cluster.bucket, Key=prefix + "upload.bin")["Body"].read() == body


def test_as_browsers_write_it(signer, s3, cluster, prefix):
    """With the button behind the file, as in the HTML of S3's own examples, and quotes in the file's name."""
    post = fields_of(signer, cluster, prefix + "${filename}", conditions=[["starts-with", "$key", prefix]])
    boundary = "----WebKitFormBoundary7MA4YWxkTrZu0gW"

    def form(body, behind=True):
        lines = []
        for name, value in post["fields"].items():
            lines += [f"--{boundary}", f'Content-Disposition: form-data; name="{name}"', "", value]
        lines += [f"--{boundary}", 'Content-Disposition: form-data; name="file"; filename="a b.txt"']
        lines += ["Content-Type: text/plain", ""]
        text = "\r\n".join(lines).encode() + b"\r\n" + body + b"\r\n"
        if behind:
            button = [f"--{boundary}", 'Content-Disposition: form-data; name="submit"', "", "Upload", ""]
            text += "\r\n".join(button).encode()
        return text + f"--{boundary}--\r\n".encode()

    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}", "Origin": "http://localhost"}
    body = b"line\r\n--" + boundary.encode()[:10] + b"\r\nend\r\n"
    answer = requests.post(post["url"], data=form(body), headers=headers, timeout=60)
    assert answer.status_code == 204, answer.text
    where = {"Bucket": cluster.bucket, "Key": prefix + "a b.txt"}
    assert s3.get_object(**where)["Body"].read() == body
    # A large file that is not the last thing in its form is refused whole, not stored in part.
    large = requests.post(post["url"], data=form(os.urandom(9_000_000)), headers=headers, timeout=120)
    assert large.status_code == 400, large.text
    assert s3.get_object(**where)["Body"].read() == body
    # Nor is one whose form is cut.
    cut = form(b"cut", behind=False)[:-30]
    answer = requests.post(post["url"], data=cut, headers=headers, timeout=60)
    assert answer.status_code == 400, answer.text
    fields = b"x" * 30_000
    answer = requests.post(post["url"], data=fields, headers=headers, timeout=60)
    assert refused(answer)[:2] == (400, "MaxPostPreDataLengthExceeded")
    assert s3.get_object(**where)["Body"].read() == body
