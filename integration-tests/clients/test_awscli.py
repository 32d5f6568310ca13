"""awscli: what people type."""

import json
import os
import subprocess
import time

import requests


def aws(cluster, environment, *arguments, ok=True):
    command = ["aws", "--endpoint-url", cluster.endpoint, "--no-cli-pager", *arguments]
    if "--no-cli-pager" not in subprocess.run(["aws", "--version"], capture_output=True, text=True).stdout:
        command.remove("--no-cli-pager")
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert (done.returncode == 0) == ok, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_cp_ls_presign_rm(cluster, environment, tmp_path, prefix):
    body = os.urandom(200_000)
    (tmp_path / "in file").write_bytes(body)
    url = f"s3://{cluster.bucket}/{prefix}a file"
    aws(cluster, environment, "s3", "cp", str(tmp_path / "in file"), url)
    assert "200000 a file" in aws(cluster, environment, "s3", "ls", f"s3://{cluster.bucket}/{prefix}")
    aws(cluster, environment, "s3", "cp", url, str(tmp_path / "out"))
    assert (tmp_path / "out").read_bytes() == body
    aws(cluster, environment, "s3", "cp", url, f"{url} too")
    signed = aws(cluster, environment, "s3", "presign", f"{url} too", "--expires-in", "300").strip()
    assert requests.get(signed, timeout=60).content == body
    aws(cluster, environment, "s3", "mv", f"{url} too", f"{url} moved")
    aws(cluster, environment, "s3", "rm", f"s3://{cluster.bucket}/{prefix}", "--recursive")
    aws(cluster, environment, "s3", "ls", f"s3://{cluster.bucket}/{prefix}", ok=False)


def test_buckets(cluster, environment):
    assert cluster.bucket in aws(cluster, environment, "s3", "ls")


def test_sync_there_and_back(cluster, environment, tmp_path, prefix):
    files = {}
    for i in range(60):
        path = tmp_path / "in" / f"folder {i % 7}" / f"{i}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(i * 500))
        # S3 tells whole seconds: what is uploaded in the second in which it was written looks older than the file.
        os.utime(path, (time.time() - 60,) * 2)
        files[str(path.relative_to(tmp_path / "in"))] = path.read_bytes()
    url = f"s3://{cluster.bucket}/{prefix}tree"
    aws(cluster, environment, "s3", "sync", str(tmp_path / "in"), url)
    assert aws(cluster, environment, "s3", "sync", str(tmp_path / "in"), url) == ""
    aws(cluster, environment, "s3", "sync", url, str(tmp_path / "out"))
    back = {str(path.relative_to(tmp_path / "out")): path.read_bytes() for path in (tmp_path / "out").rglob("*.bin")}
    assert back == files


def test_standard_input_and_output(cluster, environment, prefix):
    url = f"s3://{cluster.bucket}/{prefix}piped"
    body = os.urandom(100_000)
    base = ["aws", "--endpoint-url", cluster.endpoint, "s3", "cp"]
    subprocess.run([*base, "-", url], input=body, env=environment, check=True, timeout=300)
    done = subprocess.run([*base, url, "-"], env=environment, check=True, capture_output=True, timeout=300)
    assert done.stdout == body


def test_s3api(cluster, environment, tmp_path, prefix):
    (tmp_path / "x").write_bytes(b"0123456789")
    where = ["--bucket", cluster.bucket, "--key", f"{prefix}x"]
    aws(cluster, environment, "s3api", "put-object", *where, "--body", str(tmp_path / "x"), "--metadata", "a=b")
    assert '"a": "b"' in aws(cluster, environment, "s3api", "head-object", *where)
    aws(cluster, environment, "s3api", "get-object", *where, "--range", "bytes=2-4", str(tmp_path / "part"))
    assert (tmp_path / "part").read_bytes() == b"234"


def test_large_files_go_in_parts(cluster, environment, tmp_path, prefix):
    body = os.urandom(21_000_000)
    (tmp_path / "large").write_bytes(body)
    url = f"s3://{cluster.bucket}/{prefix}large"
    aws(cluster, environment, "s3", "cp", str(tmp_path / "large"), url)
    where = ["--bucket", cluster.bucket, "--key", f"{prefix}large"]
    # 8 MiB a part.
    assert "-3" in aws(cluster, environment, "s3api", "head-object", *where, "--query", "ETag")
    aws(cluster, environment, "s3", "cp", url, f"{url} too")
    aws(cluster, environment, "s3", "cp", f"{url} too", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == body
    piped = ["aws", "--endpoint-url", cluster.endpoint, "s3", "cp", "-", f"{url} piped"]
    subprocess.run(piped, input=body, env=environment, check=True, timeout=300)
    aws(cluster, environment, "s3", "mv", f"{url} piped", str(tmp_path / "piped"))
    assert (tmp_path / "piped").read_bytes() == body
    assert "Uploads" not in aws(cluster, environment, "s3api", "list-multipart-uploads", "--bucket", cluster.bucket, "--prefix", prefix)


def test_versions(cluster, environment, tmp_path, prefix):
    def api(*arguments, ok=True):
        return aws(cluster, environment, "s3api", *arguments, ok=ok)

    where = ["--bucket", cluster.versioned, "--key", prefix + "k"]
    bucket = ["--bucket", cluster.versioned]
    api("put-bucket-versioning", *bucket, "--versioning-configuration", "Status=Enabled")
    assert "Enabled" in api("get-bucket-versioning", *bucket)
    ids = []
    for name in ("one", "two"):
        (tmp_path / name).write_text(name)
        put = json.loads(api("put-object", *where, "--body", str(tmp_path / name), "--output", "json"))
        ids.append(put["VersionId"])
    api("get-object", *where, "--version-id", ids[0], str(tmp_path / "out"))
    assert (tmp_path / "out").read_text() == "one"
    aws(cluster, environment, "s3", "rm", f"s3://{cluster.versioned}/{prefix}k")
    listed = json.loads(api("list-object-versions", *bucket, "--prefix", prefix, "--max-items", "10", "--output", "json"))
    assert [version["VersionId"] for version in listed["Versions"]] == ids[::-1]
    (marker,) = listed["DeleteMarkers"]
    api("head-object", *where, ok=False)
    api("delete-object", *where, "--version-id", marker["VersionId"])
    assert ids[1] in api("head-object", *where)
