"""pgBackRest: a database with its log, backed up in full and again in part, restored and compared. It speaks https only."""

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
import requests

from services import Process, binary, free_port, wait_for


@pytest.fixture
def https_port(cluster, tmp_path):
    """Another data plane of the cluster, with a certificate that nobody signed."""
    key, certificate = str(tmp_path / "key.pem"), str(tmp_path / "certificate.pem")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    s3, health = free_port(), free_port()
    config = json.loads(cluster.data_plane_file.read_text())
    config["name"] = "data-plane-https"
    config["s3"] = {"listen": f"127.0.0.1:{s3}", "tls": {"cert": certificate, "key": key}}
    config["http"] = {"listen": f"127.0.0.1:{health}"}
    config["snapshot_path"] = str(tmp_path / "snapshot.pb")
    (tmp_path / "https.yaml").write_text(json.dumps(config))
    process = Process("https", [binary("s3o-dataplane"), "--config", str(tmp_path / "https.yaml")], tmp_path)
    ready = lambda: requests.get(f"http://127.0.0.1:{health}/health/ready", timeout=5).status_code == 200
    try:
        wait_for("data plane with https", ready, process.check_alive)
        yield s3
    finally:
        process.end()


class Database:
    """A PostgreSQL whose log pgBackRest archives. As root it runs as the user `postgres`, as PostgreSQL demands."""

    def __init__(self, folder, environment, bucket, prefix, port, keys):
        self.folder, self.data = folder, folder / "data"
        self.user = "postgres" if os.getuid() == 0 else None
        programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
        path = ":".join([*(str(path) for path in reversed(programs)), environment["PATH"]])
        self.environment = {**environment, "PATH": path, "HOME": str(folder), "PGHOST": str(folder), "PGUSER": "suite"}
        self.config = folder / "pgbackrest.conf"
        access_key, secret_key = keys
        self.config.write_text(
            f"[global]\nrepo1-type=s3\nrepo1-path=/{prefix}repository\nrepo1-s3-bucket={bucket}\n"
            f"repo1-s3-endpoint=localhost\nrepo1-storage-host=127.0.0.1\nrepo1-storage-port={port}\n"
            f"repo1-storage-verify-tls=n\nrepo1-s3-uri-style=path\nrepo1-s3-region=us-east-1\nrepo1-s3-key={access_key}\n"
            f"repo1-s3-key-secret={secret_key}\nrepo1-retention-full=1\nrepo1-bundle=y\nstart-fast=y\n"
            f"log-level-file=off\nlog-path={folder}\nlock-path={folder}/lock\nspool-path={folder}/spool\n"
            f"[suite]\npg1-path={self.data}\npg1-socket-path={folder}\npg1-user=suite\npg1-database=postgres\n"
        )
        if self.user:
            shutil.chown(folder, self.user)
            shutil.chown(self.config, self.user)
        self.run("initdb", "-D", str(self.data), "-U", "suite", "-A", "trust", "--no-sync", "--no-instructions")
        archive = f"pgbackrest --config={self.config} --stanza=suite archive-push %p"
        settings = f"listen_addresses = ''\nunix_socket_directories = '{folder}'\narchive_mode = on\n"
        settings += f"archive_command = '{archive}'\nfsync = off\n"
        with open(self.data / "postgresql.conf", "a") as file:
            file.write(settings)

    def run(self, *command):
        as_user = {"user": self.user, "group": self.user, "extra_groups": []} if self.user else {}
        with tempfile.TemporaryFile("w+") as output:
            # A file: the server that pg_ctl leaves behind would hold a pipe open.
            done = subprocess.run(
                command, env=self.environment, cwd=self.folder, stdout=output, stderr=output, timeout=300, **as_user
            )
            output.seek(0)
            text = output.read()
        assert done.returncode == 0, f"{command}\n{text[-6000:]}"
        return text

    def pgbackrest(self, *arguments):
        return self.run("pgbackrest", f"--config={self.config}", "--stanza=suite", *arguments)

    def start(self):
        self.run("pg_ctl", "-D", str(self.data), "-w", "-t", "120", "-l", str(self.folder / "server.log"), "start")

    def stop(self):
        if (self.data / "postmaster.pid").exists():
            self.run("pg_ctl", "-D", str(self.data), "-w", "-m", "immediate", "stop")

    def query(self, text):
        return self.run("psql", "-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-d", "postgres", "-c", text).strip()


@pytest.fixture
def database(cluster, environment, https_port, prefix):
    # PostgreSQL's user may not enter the folders that pytest makes.
    folder = Path(tempfile.mkdtemp(prefix="s3o-pgbackrest-"))
    keys = cluster.access_key, cluster.secret_key
    database = None
    try:
        database = Database(folder, environment, cluster.other, prefix, https_port, keys)
        database.start()
        yield database
    finally:
        if database is not None:
            database.stop()
        shutil.rmtree(folder, ignore_errors=True)


def test_backup_and_restore(database):
    digest = "SELECT count(*), md5(string_agg(t::text, ',' ORDER BY id)) FROM t"
    database.query("CREATE TABLE t AS SELECT id, md5(id::text) AS text FROM generate_series(1, 100000) AS id")
    database.pgbackrest("stanza-create")
    database.pgbackrest("check")
    database.pgbackrest("backup", "--type=full")
    database.query("INSERT INTO t SELECT id, md5(id::text) FROM generate_series(100001, 120000) AS id")
    database.pgbackrest("backup", "--type=incr")
    database.pgbackrest("verify")
    # This is in the log alone.
    database.query("DELETE FROM t WHERE id % 7 = 0")
    database.query("SELECT pg_switch_wal()")
    expected = database.query(digest)
    database.pgbackrest("check")
    database.stop()

    shutil.rmtree(database.data)
    database.data.mkdir(mode=0o700)
    if database.user:
        shutil.chown(database.data, database.user, database.user)
    database.pgbackrest("restore")
    database.start()
    # It answers before it has read all of the log.
    wait_for("the end of recovery", lambda: database.query("SELECT pg_is_in_recovery()") == "f")
    assert database.query(digest) == expected

    database.pgbackrest("backup", "--type=full")
    kinds = [backup["type"] for backup in json.loads(database.pgbackrest("info", "--output=json"))[0]["backup"]]
    # The second full backup made the first one, with what rests upon it, expire.
    assert kinds == ["full"]
