"""s5cmd: many objects at once, by one process with many workers."""

import os
import time
import subprocess

import pytest


@pytest.fixture
def s5cmd(cluster, environment):
    def run(*arguments, stdin=None, ok=True):
        command = ["s5cmd", "--endpoint-url", cluster.endpoint, *arguments]
        done = subprocess.run(command, env=environment, input=stdin, capture_output=True, text=True, timeout=300)
        assert (done.returncode == 0) == ok, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout if ok else done.stderr

    return run


def make(folder, files):
    for i in range(files):
        path = folder / f"d{i % 5}" / f"file {i} ü"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(1000 + i))


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_copy_list_move_remove(cluster, s5cmd, tmp_path, prefix):
    body = os.urandom(300_000)
    (tmp_path / "in").write_bytes(body)
    url = f"s3://{cluster.bucket}/{prefix}"
    s5cmd("cp", str(tmp_path / "in"), f"{url}a ü file")
    assert "300000" in s5cmd("ls", f"{url}*")
    s5cmd("cp", f"{url}a ü file", f"{url}copy")
    s5cmd("mv", f"{url}copy", f"{url}moved")
    s5cmd("cp", f"{url}moved", str(tmp_path / "out"))
    assert (tmp_path / "out").read_bytes() == body
    assert "600000 bytes in 2 objects" in s5cmd("du", f"{url}*")
    s5cmd("rm", f"{url}*")
    assert "no object found" in s5cmd("ls", f"{url}*", ok=False)
    assert cluster.bucket in s5cmd("ls")


def test_a_large_file_goes_in_parts(cluster, s5cmd, tmp_path, prefix):
    body = os.urandom(23 << 20)
    (tmp_path / "in").write_bytes(body)
    url = f"s3://{cluster.bucket}/{prefix}large"
    s5cmd("cp", "--part-size", "5", "--concurrency", "4", str(tmp_path / "in"), url)
    s5cmd("cp", "--part-size", "5", "--concurrency", "4", url, str(tmp_path / "out"))
    assert (tmp_path / "out").read_bytes() == body


def test_sync_twice_and_a_batch(cluster, s5cmd, tmp_path, prefix):
    make(tmp_path / "in", 60)
    # It compares times, and S3's are whole seconds.
    for path in (tmp_path / "in").rglob("file*"):
        os.utime(path, (time.time() - 10,) * 2)
    url = f"s3://{cluster.bucket}/{prefix}"
    assert s5cmd("sync", f"{tmp_path}/in/*", url).count("cp ") == 60
    assert s5cmd("sync", f"{tmp_path}/in/*", url) == "", "nothing has changed"
    changed = tmp_path / "in" / "d0" / "file 0 ü"
    changed.write_bytes(os.urandom(5000))
    (tmp_path / "in" / "d1" / "file 1 ü").unlink()
    second = s5cmd("sync", "--delete", f"{tmp_path}/in/*", url)
    assert second.count("cp ") == 1 and second.count("rm ") == 1, second
    s5cmd("sync", f"{url}*", f"{tmp_path}/out/")
    assert contents(tmp_path / "out") == contents(tmp_path / "in")
    # Its real job: a file of commands.
    names = sorted(contents(tmp_path / "in"))
    commands = "".join(f'cp "{url}{name}" "{url}again/{name}"\n' for name in names)
    s5cmd("run", stdin=commands)
    s5cmd("cp", f"{url}again/*", f"{tmp_path}/again/")
    assert contents(tmp_path / "again") == contents(tmp_path / "in")
