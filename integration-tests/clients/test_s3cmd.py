"""s3cmd: an older client with its own mind about signatures and listings (version 1)."""

import os
import subprocess

import pytest


@pytest.fixture
def s3cmd(cluster, environment, tmp_path):
    config = tmp_path / "s3cfg"
    host = cluster.endpoint.removeprefix("http://")
    config.write_text(
        f"[default]\naccess_key = {cluster.access_key}\nsecret_key = {cluster.secret_key}\n"
        f"host_base = {host}\nhost_bucket = {host}\nuse_https = False\nsignature_v2 = False\n"
        "bucket_location = us-east-1\nmax_retries = 1\n"
    )

    def run(*arguments):
        command = ["s3cmd", "-c", str(config), "--no-progress", *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return run


def test_put_get_ls_del(cluster, s3cmd, tmp_path, prefix):
    body = os.urandom(300_000)
    (tmp_path / "in").write_bytes(body)
    url = f"s3://{cluster.bucket}/{prefix}"
    s3cmd("put", str(tmp_path / "in"), f"{url}a ü file")
    assert f"{url}a ü file" in s3cmd("ls", url)
    s3cmd("get", f"{url}a ü file", str(tmp_path / "out"))
    assert (tmp_path / "out").read_bytes() == body
    s3cmd("cp", f"{url}a ü file", f"{url}copy")
    s3cmd("get", f"{url}copy", str(tmp_path / "copy"))
    assert (tmp_path / "copy").read_bytes() == body
    assert "300000" in s3cmd("info", f"{url}copy")
    s3cmd("del", f"{url}a ü file")
    s3cmd("del", "--recursive", "--force", url)
    assert s3cmd("ls", url) == ""


def test_buckets(cluster, s3cmd):
    assert f"s3://{cluster.bucket}" in s3cmd("ls")


def test_sync(cluster, s3cmd, tmp_path, prefix):
    for i in range(20):
        (tmp_path / "in" / str(i % 3)).mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / str(i % 3) / str(i)).write_bytes(os.urandom(1000 + i))
    s3cmd("sync", f"{tmp_path}/in/", f"s3://{cluster.bucket}/{prefix}")
    (tmp_path / "out").mkdir()
    s3cmd("sync", f"s3://{cluster.bucket}/{prefix}", f"{tmp_path}/out/")
    for path in (tmp_path / "in").rglob("*"):
        if path.is_file():
            assert (tmp_path / "out" / path.relative_to(tmp_path / "in")).read_bytes() == path.read_bytes()
