"""Processes of the suite: started on free ports, waited for, ended by their own ids.

Invariant: whatever was started is ended when its owner closes, in reverse order, also when a test
fails; nothing is ever ended by name.
"""

import json
import os
import random
import signal
import socket
import subprocess
import time
from pathlib import Path

import requests

REPOSITORY = Path(__file__).resolve().parents[2]
# Generous: a busy machine is slow, and speed is not what is tested.
PATIENCE = 120


def binary(name):
    """Path of one of our binaries; scripts/clients.sh says where they are."""
    path = Path(os.environ.get("S3O_BINARIES", REPOSITORY / "target/debug")) / name
    assert path.is_file(), f"{path} is not there: run `make test-clients`"
    return str(path)


# Below Linux's default `ip_local_port_range`: no outgoing connection takes one before its process listens.
PORTS = random.sample(range(12_000, 32_000), 20_000)


def free_port():
    """A port that nobody listens on, and that nobody else is given."""
    while True:
        port = PORTS.pop()
        with socket.socket() as listener:
            try:
                listener.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


def wait_for(what, check, alive=None):
    """Calls `check` until it answers something true."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if alive is not None:
            alive()
        try:
            answer = check()
        except (OSError, requests.RequestException):
            answer = None
        if answer:
            return answer
        time.sleep(0.05)
    raise TimeoutError(f"{what}: nothing after {PATIENCE} s")


class Process:
    """A child process with its output in a file."""

    def __init__(self, name, command, folder, env=None, stdout=None):
        self.name = name
        self.log = Path(folder) / f"{name}.log"
        with open(self.log, "ab") as log:
            self.child = subprocess.Popen(
                command,
                stdout=stdout or log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **(env or {})},
            )

    def tail(self):
        return self.log.read_text(errors="replace")[-4000:]

    def check_alive(self):
        code = self.child.poll()
        assert code is None, f"{self.name} ended with {code}:\n{self.tail()}"

    def first_line(self):
        """The line that it prints when it serves; it was started with stdout=PIPE."""
        line = self.child.stdout.readline().decode().strip()
        if not line:
            self.child.wait(timeout=PATIENCE)
            self.check_alive()
        return line

    def kill(self):
        self.child.kill()
        self.child.wait(timeout=PATIENCE)

    def end(self, how=signal.SIGTERM):
        """Asks it to end and returns its exit code."""
        if self.child.poll() is None:
            self.child.send_signal(how)
        try:
            return self.child.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()
            raise


class Folder:
    """A folder backend of ours."""

    keys = ("folderkey", "folder-secret")
    bucket = "blobs"

    def __init__(self, name, folder):
        self.name, self.root = name, Path(folder) / name
        access, secret = self.keys
        command = [binary("s3o"), "folder-backend", "--root", str(self.root), "--bucket", self.bucket]
        command += ["--access-key", access, "--secret-key", secret]
        self.process = Process(name, command, folder, stdout=subprocess.PIPE)
        self.endpoint = self.process.first_line()


class Versitygw:
    """An S3 server that is neither ours nor of the s3s crate."""

    keys = ("versitykey", "versity-secret")
    bucket = "versity-blobs"

    def __init__(self, name, folder):
        self.name, self.root = name, Path(folder) / name
        (self.root / "files" / self.bucket).mkdir(parents=True)
        (self.root / "sidecar").mkdir()
        port = free_port()
        access, secret = self.keys
        command = [os.environ["S3O_VERSITYGW"], "--access", access, "--secret", secret]
        command += ["--port", f"127.0.0.1:{port}", "--keep-alive", "--quiet", "posix"]
        # Not every file system that tests run on has extended attributes.
        command += ["--sidecar", str(self.root / "sidecar"), str(self.root / "files")]
        self.process = Process(name, command, folder)
        self.endpoint = f"http://127.0.0.1:{port}"
        wait_for("versitygw", lambda: requests.get(self.endpoint, timeout=5).status_code, self.process.check_alive)


def backend_section(backend):
    access, secret = backend.keys
    return {
        "name": backend.name,
        "endpoint": backend.endpoint,
        "region": "us-east-1",
        "bucket": backend.bucket,
        "quota_bytes": "4GiB",
        "credentials": {"static": {"access_key_id": access, "secret_access_key": secret}},
    }


class Cluster:
    """The two services apart, as they run in production: PostgreSQL, backends, control plane, data plane."""

    bucket, other, readonly = "photos", "backups", "archive"
    # Its versioning is the tests' to set.
    versioned = "versioned"
    locked = "locked"
    access_key, secret_key = "AKIASUITE", "suite-secret/with+signs=="
    reader_key, reader_secret = "AKIAREADER", "reader-secret"
    maker_key, maker_secret = "AKIAMAKER", "maker-secret"
    domain = "s3.test"
    admin_token = "admin-token"

    def __init__(self, folder):
        self.folder = Path(folder)
        self.started = []
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def _start(self):
        postgres = self._own(
            Process(
                "postgres",
                [binary("s3o"), "dev-postgres", "--data", str(self.folder / "postgres")],
                self.folder,
                stdout=subprocess.PIPE,
            )
        )
        database = postgres.first_line()
        self.backends = [Folder("one", self.folder), Folder("two", self.folder)]
        if os.environ.get("S3O_VERSITYGW"):
            self.backends.append(Versitygw("versity", self.folder))
        for backend in self.backends:
            self._own(backend.process)
        grpc, http, s3, health = (free_port() for _ in range(4))
        self.grpc_url, self.http_url = f"http://127.0.0.1:{grpc}", f"http://127.0.0.1:{http}"
        self.endpoint, self.health_url = f"http://127.0.0.1:{s3}", f"http://127.0.0.1:{health}"
        self.s3_port = s3
        self.control_plane_file = self._write("controlplane.yaml", self._control_plane(grpc, http, database))
        self.data_plane_file = self._write("dataplane.yaml", self._data_plane(s3, health))
        self._service("s3o-controlplane", self.control_plane_file, self.http_url)
        self.data_plane = self._service("s3o-dataplane", self.data_plane_file, self.health_url)

    def _control_plane(self, grpc, http, database):
        def grant(bucket, access="read_write"):
            return {"bucket": bucket, "access": access}

        return {
            "instance": "control-plane",
            "database": {"url": database},
            "grpc": {
                "listen": f"127.0.0.1:{grpc}",
                "dataplane_token": "dataplane-token",
                "admin_token": self.admin_token,
            },
            "http": {"listen": f"127.0.0.1:{http}"},
            "routing": {"strategy": "spread"},
            "backends": [backend_section(backend) for backend in self.backends],
            "buckets": [
                {"name": self.bucket},
                {"name": self.other},
                {"name": self.readonly},
                {"name": self.versioned},
                {"name": self.locked, "object_lock": {}},
            ],
            "credentials": [
                {
                    "access_key_id": self.access_key,
                    "secret_access_key": self.secret_key,
                    "grants": [
                        grant(self.bucket),
                        grant(self.other),
                        grant(self.readonly, "read"),
                        grant(self.versioned, ["read", "write", "list", "delete", "configure"]),
                        grant(self.locked, ["read", "write", "list", "delete", "configure", "bypass_governance"]),
                    ],
                },
                {
                    "access_key_id": self.reader_key,
                    "secret_access_key": self.reader_secret,
                    "grants": [grant(self.bucket, "read")],
                },
                {
                    "access_key_id": self.maker_key,
                    "secret_access_key": self.maker_secret,
                    "create_buckets": True,
                    "grants": [grant(self.other, ["configure"])],
                },
            ],
        }

    def _data_plane(self, s3, health):
        return {
            "name": "data-plane",
            "s3": {"listen": f"127.0.0.1:{s3}", "domains": [self.domain]},
            "http": {"listen": f"127.0.0.1:{health}"},
            "control_planes": [self.grpc_url],
            "token": "dataplane-token",
            "snapshot_path": str(self.folder / "snapshot.pb"),
        }

    def _write(self, name, config):
        path = self.folder / name
        path.write_text(json.dumps(config, indent=2))
        return path

    def _service(self, name, config, health_url):
        process = self._own(Process(name, [binary(name), "--config", str(config)], self.folder))
        ready = lambda: requests.get(f"{health_url}/health/ready", timeout=5).status_code == 200
        wait_for(name, ready, process.check_alive)
        return process

    def _own(self, process):
        self.started.append(process)
        return process

    def close(self):
        for process in reversed(self.started):
            process.end()


class Standalone:
    """`s3o standalone`, started again and again on one data folder."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.ready_file = self.folder / "ready.json"
        self.process = None

    def start(self, *flags):
        command = [binary("s3o"), "standalone", "--data", str(self.folder / "data")]
        command += ["--s3-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--grpc-listen", "127.0.0.1:0"]
        command += ["--ready-file", str(self.ready_file), *flags]
        self.process = Process("standalone", command, self.folder)
        wait_for("standalone", self.ready_file.exists, self.process.check_alive)
        return json.loads(self.ready_file.read_text())

    def close(self):
        if self.process is not None:
            self.process.end()
