"""rclone: a tree of 1,000 files there and back."""

import os
import random
import subprocess

import pytest


@pytest.fixture
def rclone(cluster, environment, tmp_path):
    config = tmp_path / "rclone.conf"
    config.write_text(
        "[suite]\ntype = s3\nprovider = Other\nregion = us-east-1\n"
        f"endpoint = {cluster.endpoint}\naccess_key_id = {cluster.access_key}\n"
        f"secret_access_key = {cluster.secret_key}\n"
    )

    def run(*arguments):
        # --retries 1: a second try would hide what the first one met.
        command = ["rclone", "--config", str(config), "--retries", "1", "--low-level-retries", "1", *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return run


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_thousand_files_there_and_back(cluster, rclone, tmp_path, prefix):
    there, back = tmp_path / "there", tmp_path / "back"
    chance = random.Random(7)
    for i in range(1000):
        folder = there / chance.choice(["a", "a/b", "ä ö", "x/y/z", "deep/" * 8 + "er"])
        folder.mkdir(parents=True, exist_ok=True)
        size = chance.choice([0, 1, 100, 5_000, 60_000])
        (folder / f"{i} {chance.choice(['plain', 'ünï', '+&=;', '日本'])}.bin").write_bytes(os.urandom(size))
    remote = f"suite:{cluster.bucket}/{prefix}tree"
    rclone("sync", str(there), remote, "--transfers", "8")
    # By hash and by content.
    rclone("check", str(there), remote)
    rclone("check", "--download", str(there), remote)
    rclone("sync", remote, str(back), "--transfers", "8")
    assert contents(back) == contents(there)
    # Nothing has changed: modification times are kept as metadata, so nothing is sent again.
    assert rclone("sync", str(there), remote, "--stats-one-line", "--dry-run") == ""
    for path in sorted(path for path in there.rglob("*.bin"))[:400]:
        path.unlink()
    rclone("sync", str(there), remote)
    rclone("check", str(there), remote)
    rclone("purge", remote)
    assert rclone("lsf", "-R", f"suite:{cluster.bucket}/{prefix}") == ""


def test_move_and_cat(cluster, rclone, tmp_path, prefix):
    (tmp_path / "x").write_text("hello")
    remote = f"suite:{cluster.bucket}/{prefix}"
    rclone("copyto", str(tmp_path / "x"), f"{remote}one")
    rclone("moveto", f"{remote}one", f"{remote}two")
    assert rclone("cat", f"{remote}two") == "hello"
    assert rclone("lsf", remote) == "two\n"


def test_a_file_of_300_mib_in_parts(cluster, rclone, tmp_path, prefix):
    with open(tmp_path / "large", "wb") as large:
        for _ in range(300):
            large.write(os.urandom(1024 * 1024))
    remote = f"suite:{cluster.bucket}/{prefix}"
    parts = ["--s3-upload-cutoff", "50M", "--s3-chunk-size", "16M", "--s3-copy-cutoff", "100M"]
    rclone("copyto", str(tmp_path / "large"), f"{remote}large", *parts)
    # On the server, in parts too.
    rclone("copyto", f"{remote}large", f"{remote}copied", *parts)
    rclone("copyto", f"{remote}copied", str(tmp_path / "back"))
    with open(tmp_path / "large", "rb") as one, open(tmp_path / "back", "rb") as other:
        while chunk := one.read(1 << 20):
            assert chunk == other.read(1 << 20)
        assert not other.read(1)
    rclone("check", "--download", str(tmp_path), remote, "--include", "/large")
    rclone("purge", remote)


def test_old_versions(cluster, s3, rclone, tmp_path, prefix):
    s3.put_bucket_versioning(Bucket=cluster.versioned, VersioningConfiguration={"Status": "Enabled"})
    remote = f"suite:{cluster.versioned}/{prefix}"
    for text in ("first", "second"):
        (tmp_path / "file.txt").write_text(text)
        rclone("copyto", str(tmp_path / "file.txt"), f"{remote}file.txt", "--ignore-times")
    names = rclone("lsf", remote, "--s3-versions").split()
    assert "file.txt" in names and len(names) == 2
    (old,) = [name for name in names if name != "file.txt"]
    rclone("copy", remote, str(tmp_path / "all"), "--s3-versions")
    assert (tmp_path / "all" / old).read_text() == "first"
    assert (tmp_path / "all" / "file.txt").read_text() == "second"
    rclone("deletefile", f"{remote}file.txt")
    assert rclone("lsf", remote) == ""
    assert len(rclone("lsf", remote, "--s3-versions").split()) == 2
    # Rclone's way to be rid of what is old.
    rclone("backend", "cleanup-hidden", remote)
    assert rclone("lsf", remote, "--s3-versions") == ""
