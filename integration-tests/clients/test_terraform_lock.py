"""The lock file of Terraform's S3 backend: whoever creates it holds the lock, and deleting it lets go."""

import json
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from botocore.exceptions import ClientError

from test_boto3_objects import code

RACERS = 2


def test_one_of_two_gets_the_lock(make_client, cluster, prefix):
    clients = [make_client() for _ in range(RACERS)]
    state = {"Bucket": cluster.bucket, "Key": f"{prefix}terraform.tfstate"}
    lock = {"Bucket": cluster.bucket, "Key": f"{prefix}terraform.tfstate.tflock"}
    start = Barrier(RACERS)

    def race(who):
        start.wait(timeout=60)
        body = json.dumps({"ID": str(who), "Operation": "OperationTypeApply"}).encode()
        try:
            clients[who].put_object(**lock, Body=body, ContentType="application/json", IfNoneMatch="*")
        except ClientError as error:
            return error.response["Error"]["Code"]
        return "locked"

    with ThreadPoolExecutor(RACERS) as pool:
        for turn in range(20):
            results = list(pool.map(race, range(RACERS)))
            assert results.count("locked") == 1, results
            # The second one is how S3 answers a race that it has not decided yet.
            assert set(results) <= {"locked", "PreconditionFailed", "ConditionalRequestConflict"}
            winner = results.index("locked")
            held = json.loads(clients[1 - winner].get_object(**lock)["Body"].read())
            assert held["ID"] == str(winner)
            clients[winner].put_object(**state, Body=json.dumps({"serial": turn}).encode())
            clients[winner].delete_object(**lock)
            with pytest.raises(ClientError) as error:
                clients[1 - winner].get_object(**lock)
            assert code(error) == ("NoSuchKey", 404)
    assert json.loads(clients[0].get_object(**state)["Body"].read()) == {"serial": 19}
