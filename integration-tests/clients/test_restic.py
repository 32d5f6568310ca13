"""restic: a repository that is written twice, checked byte by byte, restored and pruned."""

import json
import os
import subprocess

import pytest

from test_rclone import contents


@pytest.fixture
def restic(cluster, environment, tmp_path, prefix):
    repository = f"s3:{cluster.endpoint}/{cluster.other}/{prefix}repository"
    cache = str(tmp_path / "cache")
    options = ["-r", repository, "-o", "s3.bucket-lookup=path", "-o", "s3.region=us-east-1", "--cache-dir", cache]

    def run(*arguments, ok=True):
        command = ["restic", *options, *arguments]
        secret = {**environment, "RESTIC_PASSWORD": "a password"}
        done = subprocess.run(command, env=secret, capture_output=True, text=True, timeout=300)
        assert (done.returncode == 0) == ok, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return run


def test_backup_check_restore_prune(restic, s3, cluster, tmp_path, prefix):
    files = tmp_path / "files"
    for i in range(80):
        path = files / f"folder {i % 9}" / f"ü {i}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(i * 1000))
    (files / "large").write_bytes(os.urandom(24_000_000))
    restic("snapshots", ok=False)
    restic("init")
    restic("init", ok=False)
    restic("backup", str(files))
    first = contents(files)

    for i in range(0, 80, 3):
        (files / f"folder {i % 9}" / f"ü {i}.bin").unlink()
    (files / "folder 1" / "new").write_bytes(os.urandom(300_000))
    with open(files / "large", "r+b") as large:
        large.write(os.urandom(3_000_000))
    restic("backup", str(files))
    restic("check", "--read-data")

    snapshots = [snapshot["id"] for snapshot in json.loads(restic("snapshots", "--json"))]
    assert len(snapshots) == 2
    for snapshot, expected in zip(snapshots, (first, contents(files))):
        target = tmp_path / snapshot
        restic("restore", snapshot, "--target", str(target))
        assert contents(target / files.relative_to("/")) == expected

    restic("forget", "--keep-last", "1", "--prune", "--max-unused", "0")
    restic("check", "--read-data")
    restic("restore", "latest", "--target", str(tmp_path / "pruned"))
    assert contents(tmp_path / "pruned" / files.relative_to("/")) == contents(files)
    # Every lock was let go.
    assert s3.list_objects_v2(Bucket=cluster.other, Prefix=f"{prefix}repository/locks/")["KeyCount"] == 0
