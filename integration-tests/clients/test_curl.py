"""curl: requests that it signs itself, and URLs that were signed for it."""

import os
import subprocess

import pytest


@pytest.fixture
def curl(cluster, environment, tmp_path):
    def run(url, *arguments, signed=True, status="200"):
        command = ["curl", "-q", "--silent", "--show-error", "--max-time", "60", "--write-out", "%{http_code}"]
        command += ["--output", str(tmp_path / "answer"), *arguments, url]
        if signed:
            command += ["--aws-sigv4", "aws:amz:us-east-1:s3", "--user", f"{cluster.access_key}:{cluster.secret_key}"]
            # S3 wants this header, and curl before 8 does not make it by itself.
            command += ["--header", "x-amz-content-sha256: UNSIGNED-PAYLOAD"]
        (tmp_path / "answer").write_bytes(b"")
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
        answer = (tmp_path / "answer").read_bytes()
        assert (done.returncode, done.stdout) == (0, status), f"{command}\n{done.stderr}\n{answer[:1000]}"
        return answer

    return run


def test_put_get_list_delete(cluster, curl, tmp_path, prefix):
    url = f"{cluster.endpoint}/{cluster.bucket}/{prefix}file.bin"
    for size in (300_000, 3_000_000):
        body = os.urandom(size)
        (tmp_path / "in").write_bytes(body)
        curl(url, "--upload-file", str(tmp_path / "in"))
        assert curl(url) == body
        assert curl(url, "--range", "1000-1999", status="206") == body[1000:2000]
    head = curl(url, "--head").decode().lower()
    assert "content-length: 3000000" in head
    listed = curl(f"{cluster.endpoint}/{cluster.bucket}?list-type=2").decode()
    assert f"<Name>{cluster.bucket}</Name>" in listed
    assert f"<Name>{cluster.bucket}</Name>" in curl(f"{cluster.endpoint}/").decode()
    curl(url, "--request", "DELETE", status="204")
    assert b"<Code>NoSuchKey</Code>" in curl(url, status="404")
    assert b"<Code>AccessDenied</Code>" in curl(url, signed=False, status="403")


def test_presigned(cluster, make_client, curl, tmp_path, prefix):
    s3 = make_client(signature_version="s3v4")
    where = {"Bucket": cluster.bucket, "Key": f"{prefix}a file ü"}
    for size in (100, 2_000_000):
        body = os.urandom(size)
        (tmp_path / "in").write_bytes(body)
        put = s3.generate_presigned_url("put_object", Params=where, ExpiresIn=300)
        curl(put, "--upload-file", str(tmp_path / "in"), signed=False)
        get = s3.generate_presigned_url("get_object", Params=where, ExpiresIn=300)
        assert curl(get, signed=False) == body
    # From standard input curl sends chunks without a length, which S3 does not take.
    with open(tmp_path / "in", "rb") as stdin:
        command = ["curl", "-q", "--silent", "--max-time", "60", "--upload-file", "-", put]
        done = subprocess.run(command, stdin=stdin, capture_output=True, text=True, timeout=120)
    assert "<Code>MissingContentLength</Code>" in done.stdout
