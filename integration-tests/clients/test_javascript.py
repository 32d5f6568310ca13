"""The AWS SDK for JavaScript v3: javascript/client.cjs does the work, and this file looks at what came of it."""

import json
import os
import subprocess

import pytest

pytestmark = pytest.mark.skipif(not os.environ.get("S3O_JAVASCRIPT"), reason="the JavaScript client is not installed")


@pytest.fixture
def node(cluster, environment, prefix):
    script = os.path.join(os.path.dirname(__file__), "javascript", "client.cjs")

    def run(what):
        modules = os.path.join(os.environ["S3O_JAVASCRIPT"], "node_modules")
        known = {"NODE_PATH": modules, "ENDPOINT": cluster.endpoint, "BUCKET": cluster.bucket, "PREFIX": prefix}
        done = subprocess.run(
            ["node", script, what], env={**environment, **known}, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, f"{what}\n{done.stdout}\n{done.stderr}"
        return json.loads(done.stdout)

    return run


@pytest.mark.parametrize("what", ["objects", "streams", "errors", "presigned", "parts", "abort"])
def test_twice(node, s3, cluster, prefix, what):
    for _ in range(2):
        expected = node(what)
        listed = s3.list_objects_v2(Bucket=cluster.bucket, Prefix=prefix).get("Contents", [])
        assert {entry["Key"]: entry["Size"] for entry in listed} == expected
        assert "Uploads" not in s3.list_multipart_uploads(Bucket=cluster.bucket, Prefix=prefix)
