"""Fixtures: one cluster of the two services for the whole suite, and clients of it."""

import os
import shutil
import tempfile
from pathlib import Path

import boto3
import pytest
from botocore.config import Config

from services import Cluster, Standalone


@pytest.fixture(scope="session")
def workdir():
    folder = Path(tempfile.mkdtemp(prefix="s3o-clients-"))
    yield folder
    if os.environ.get("S3O_KEEP"):
        print(f"kept: {folder}")
    else:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def cluster(workdir):
    cluster = Cluster(workdir)
    yield cluster
    cluster.close()


@pytest.fixture
def standalone(tmp_path):
    standalone = Standalone(tmp_path)
    yield standalone
    standalone.close()


def client(endpoint, access_key, secret_key, **config):
    """A boto3 client that tries once, so that a retry hides nothing."""
    settings = {"s3": {"addressing_style": "path"}, "retries": {"total_max_attempts": 1}, **config}
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        config=Config(**settings),
    )


@pytest.fixture(scope="session")
def s3(cluster):
    return client(cluster.endpoint, cluster.access_key, cluster.secret_key)


@pytest.fixture
def make_client(cluster):
    def make(**config):
        return client(cluster.endpoint, cluster.access_key, cluster.secret_key, **config)

    return make


@pytest.fixture
def prefix(request):
    """A prefix of the test's own: tests share the buckets."""
    name = "".join(c if c.isalnum() else "-" for c in request.node.name)
    return f"{request.module.__name__}/{name}/"


@pytest.fixture
def environment(cluster, tmp_path):
    """The environment for command-line clients: nothing of the user's own configuration."""
    # awscli 1 presigns with version 2 in us-east-1 unless it is told otherwise.
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "config").write_text("[default]\ns3 =\n    signature_version = s3v4\n")
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "LC_ALL": "C.UTF-8",
        "AWS_ACCESS_KEY_ID": cluster.access_key,
        "AWS_SECRET_ACCESS_KEY": cluster.secret_key,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_MAX_ATTEMPTS": "1",
    }
