"""`s3o standalone` as a person meets it: started, ended, killed, started again."""

import os
import signal
import stat
import subprocess
import threading

import pytest
import requests
from botocore.exceptions import BotoCoreError, ClientError

from conftest import client
from services import binary


def connect(ready):
    return client(ready["endpoint"], ready["access_key_id"], ready["secret_access_key"])


def test_the_ready_file_is_all_it_takes(standalone):
    ready = standalone.start()
    wanted = {"endpoint", "bucket", "access_key_id", "secret_access_key", "admin_url", "grpc_addr", "admin_token", "pids"}
    assert set(ready) == wanted
    assert stat.S_IMODE(os.stat(standalone.ready_file).st_mode) == 0o600
    s3 = connect(ready)
    s3.put_object(Bucket=ready["bucket"], Key="hello", Body=b"hello")
    assert s3.get_object(Bucket=ready["bucket"], Key="hello")["Body"].read() == b"hello"
    assert requests.get(f"{ready['admin_url']}/health", timeout=30).status_code == 200
    status = subprocess.run(
        [binary("s3o"), "status", "--endpoint", f"http://{ready['grpc_addr']}", "--token", ready["admin_token"]],
        capture_output=True, text=True, timeout=60, check=True,
    ).stdout
    assert all(name in status for name in ("one", "two", "three", "demo"))
    for pid in ready["pids"]:
        os.kill(pid, 0)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_second_start_finds_everything(standalone, how):
    ready = standalone.start()
    objects = {f"{i}/" + "ü" * i: os.urandom(i * 4000) for i in range(20)}
    s3 = connect(ready)
    for key, body in objects.items():
        s3.put_object(Bucket=ready["bucket"], Key=key, Body=body)
    s3.delete_object(Bucket=ready["bucket"], Key="0/")
    if how == signal.SIGKILL:
        standalone.process.kill()
    else:
        assert standalone.process.end(how) == 0, standalone.process.tail()
        assert not standalone.ready_file.exists()
    standalone.ready_file.unlink(missing_ok=True)
    again = standalone.start()
    for same in ("bucket", "access_key_id", "secret_access_key", "admin_token"):
        assert again[same] == ready[same]
    s3 = connect(again)
    del objects["0/"]
    for key, body in objects.items():
        assert s3.get_object(Bucket=again["bucket"], Key=key)["Body"].read() == body
    assert s3.list_objects_v2(Bucket=again["bucket"])["KeyCount"] == len(objects)


def test_killed_under_load_nothing_acknowledged_is_lost(standalone):
    ready = standalone.start()
    acknowledged, lock = {}, threading.Lock()

    def write(thread):
        s3 = connect(ready)
        for i in range(10_000):
            key, body = f"{thread}/{i}", os.urandom(1 + i * 97 % 50_000)
            try:
                s3.put_object(Bucket=ready["bucket"], Key=key, Body=body)
            except (ClientError, BotoCoreError):
                return
            with lock:
                acknowledged[key] = body
                if len(acknowledged) >= 150:
                    enough.set()

    enough = threading.Event()
    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    assert enough.wait(120)
    standalone.process.kill()
    for thread in threads:
        thread.join()
    standalone.ready_file.unlink()
    again = standalone.start()
    s3 = connect(again)
    for key, body in acknowledged.items():
        assert s3.get_object(Bucket=again["bucket"], Key=key)["Body"].read() == body


def cli(ready, *arguments):
    return subprocess.run(
        [binary("s3o"), *arguments, "--endpoint", f"http://{ready['grpc_addr']}", "--token", ready["admin_token"]],
        capture_output=True, text=True, timeout=120, check=True,
    ).stdout


def test_a_lost_database_is_made_again(standalone):
    ready = standalone.start()
    s3, bucket = connect(ready), ready["bucket"]
    objects = {f"k{i}": os.urandom(i * 3000) for i in range(12)}
    for key, body in objects.items():
        s3.put_object(Bucket=bucket, Key=key, Body=body, Metadata={"n": key})
    s3.delete_object(Bucket=bucket, Key="k0")
    del objects["k0"]
    cli(ready, "admin", "journal")
    # After the journal's last segment: known by their blobs alone.
    s3.put_object(Bucket=bucket, Key="late", Body=b"late")
    objects["late"] = b"late"
    assert standalone.process.end(signal.SIGTERM) == 0, standalone.process.tail()
    postgres = standalone.folder / "data" / "postgres"
    postgres.rename(standalone.folder / "lost")

    again = standalone.start("--rebuild")
    assert "recovery" in cli(again, "status").lower()
    s3 = connect(again)
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == len(objects)
    for key, body in objects.items():
        got = s3.get_object(Bucket=bucket, Key=key)
        assert got["Body"].read() == body
        assert key == "late" or got["Metadata"] == {"n": key}
    cli(again, "recover")
    assert "recovery" not in cli(again, "status").lower()
    s3.put_object(Bucket=bucket, Key="after", Body=b"after")
    assert standalone.process.end(signal.SIGTERM) == 0, standalone.process.tail()
    done = subprocess.run(
        [binary("s3o"), "standalone", "--data", str(standalone.folder / "data"), "--s3-listen", "127.0.0.1:0",
         "--http-listen", "127.0.0.1:0", "--grpc-listen", "127.0.0.1:0", "--rebuild"],
        capture_output=True, text=True, timeout=120,
    )
    assert done.returncode == 1 and "empty" in done.stderr, done.stderr


def test_one_process_a_folder(standalone):
    ready = standalone.start()
    done = subprocess.run(
        [binary("s3o"), "standalone", "--data", str(standalone.folder / "data"), "--s3-listen", "127.0.0.1:0"],
        capture_output=True, text=True, timeout=60,
    )
    assert done.returncode == 1
    assert "in use by another s3o standalone" in done.stderr
    connect(ready).list_objects_v2(Bucket=ready["bucket"])


def test_declared_backends_and_buckets(standalone, tmp_path):
    from services import Folder, backend_section
    import json

    backend = Folder("mine", tmp_path)
    try:
        config = tmp_path / "declared.yaml"
        config.write_text(
            json.dumps(
                {
                    "backends": [backend_section(backend)],
                    "buckets": [{"name": "own-bucket"}],
                    "credentials": [
                        {
                            "access_key_id": "OWNKEY",
                            "secret_access_key": "${OWN_SECRET}",
                            "grants": [{"bucket": "own-bucket", "access": "read_write"}],
                        }
                    ],
                }
            )
        )
        os.environ["OWN_SECRET"] = "own$secret"
        ready = standalone.start("--config", str(config))
        assert (ready["bucket"], ready["access_key_id"], ready["secret_access_key"]) == ("own-bucket", "OWNKEY", "own$secret")
        s3 = connect(ready)
        s3.put_object(Bucket="own-bucket", Key="x", Body=b"x")
        assert s3.get_object(Bucket="own-bucket", Key="x")["Body"].read() == b"x"
        assert list(backend.root.rglob("x~*"))
        assert not (standalone.folder / "data" / "backends").exists()
    finally:
        os.environ.pop("OWN_SECRET", None)
        standalone.close()
        backend.process.end()
