"""The services around S3: health, metrics, the command line, and where the bytes went."""

import os
import subprocess

import pytest
import requests

from services import binary


def s3o(*arguments, environment=None, ok=True):
    done = subprocess.run(
        [binary("s3o"), *arguments], env={**os.environ, **(environment or {})}, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode == 0) == ok, f"{arguments}\n{done.stdout}\n{done.stderr}"
    return done.stdout if ok else done.stderr


@pytest.mark.parametrize("service", ["http_url", "health_url"])
def test_health_and_metrics(cluster, service):
    url = getattr(cluster, service)
    assert requests.get(f"{url}/health", timeout=30).status_code == 200
    assert requests.get(f"{url}/health/ready", timeout=30).status_code == 200
    assert "s3o_" in requests.get(f"{url}/metrics", timeout=30).text


def test_every_backend_holds_blobs(cluster, s3, prefix):
    body = os.urandom(100_000)
    for i in range(30):
        s3.put_object(Bucket=cluster.bucket, Key=f"{prefix}{i}", Body=body)
    for backend in cluster.backends:
        assert list(backend.root.rglob("*~*")), f"{backend.name} holds nothing"
    assert len(cluster.backends) == 3 or not os.environ.get("S3O_VERSITYGW")


def test_status_and_workers(cluster):
    environment = {"S3O_ADMIN_TOKEN": cluster.admin_token, "S3O_ENDPOINT": cluster.grpc_url}
    status = s3o("status", environment=environment)
    assert "database reachable" in status
    for name in [backend.name for backend in cluster.backends] + [cluster.bucket, "data-plane"]:
        assert name in status
    workers = s3o("admin", "workers", environment=environment)
    assert "LAST SUCCESS" in workers and "ERROR" in workers
    for name in {line.split()[0] for line in workers.strip().splitlines()[1:]}:
        s3o("admin", "run", name, environment=environment)
    assert "s3o:" in s3o("admin", "run", "no-such-worker", environment=environment, ok=False)
    for command in (
        "replicate", "over-replication", "rebalance", "reconcile", "scrub", "lifecycle", "cleanup", "reap", "stale-uploads",
        "quota-audit", "journal", "runs",
    ):
        s3o("admin", command, environment=environment)
    assert "BACKEND" in s3o("admin", "drains", environment=environment)
    for command in ("drain", "undrain"):
        assert "nowhere" in s3o("admin", command, "nowhere", environment=environment, ok=False)
    assert "token" in s3o("status", "--token", "wrong", environment=environment, ok=False)
    assert "no control plane answers" in s3o("status", "--endpoint", "http://127.0.0.1:1", environment=environment, ok=False)


def test_validate(cluster, tmp_path):
    assert "control-plane" in s3o("validate", str(cluster.control_plane_file))
    assert "data-plane" in s3o("validate", str(cluster.data_plane_file))
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("database: {url: nowhere}\ngrpc: {dataplane_token: x}\nbuckets: [{name: NO}, {name: ok1, replication_factor: 2}]\n")
    said = s3o("validate", str(wrong), ok=False)
    for path in ("database.url", "buckets[0].name", "buckets[1].replication_factor"):
        assert path in said


def test_init(tmp_path):
    backend = "name=one,endpoint=http://127.0.0.1:1,bucket=x,quota=1GiB"
    s3o("init", "--yes", "--dir", str(tmp_path), "--backend", backend, "--bucket", "photos")
    keys = {"S3O_ONE_ACCESS_KEY_ID": "k", "S3O_ONE_SECRET_ACCESS_KEY": "s"}
    s3o("validate", str(tmp_path / "controlplane.yaml"), environment=keys)
    s3o("validate", str(tmp_path / "dataplane.yaml"))
    assert "exists" in s3o("init", "--yes", "--dir", str(tmp_path), "--backend", backend, ok=False)
