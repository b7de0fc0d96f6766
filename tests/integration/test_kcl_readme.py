"""What the README shows of both consumers is run as it stands: Lambda at once, the KCL lazily.

Runs in the stage `kcl`. The leases are seeded after `binlog init`: KCL's own first start takes half a
minute. The stack is the stand-ins of this run.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import boto3
import pytest

from binlog.errors import RefusedError
from consumers.kcl_java import find_java, jars_folder
from scripts.standins.server import Server
from tests.readme.test_readme import INDENTED, ROOT

BLOCK = next(block for block in INDENTED if "scripts/stack lambda" in block)
LAZY = "us-west-2"
_SEED = """
import sys, boto3
from tests.integration.kcl_leases import seed_leases
seed_leases(boto3.client("dynamodb"), boto3.client("kinesis"), "binlog.shop.lazy", "shop")
"""


def lines(block: str) -> str:
    """The block, on the stand-ins that run already, and with the leases made beforehand."""
    kept = []
    for line in textwrap.dedent(block).strip("\n").splitlines():
        if re.match(r"scripts/(setup|stack (up|down))|python -m scripts\.standins\.kcl", line):
            continue
        kept.append(line.replace("scripts/stack lambda", "python -m scripts.standins.stack lambda"))
        if line.startswith("binlog init"):
            kept.append("python seed.py")
    return "\n".join(kept)


@pytest.fixture
def _java_and_jars() -> None:
    try:
        find_java(os.environ)
        jars_folder()
    except RefusedError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(f"cannot run: {error}")
        pytest.skip(f"cannot run: {error}")


@pytest.mark.timeout(900)
@pytest.mark.usefixtures("_java_and_jars")
def test_both_consumers_come_to_the_same_tables(
    kinesis_local: Server, ministack: Server, tmp_path: Path
) -> None:
    """The last command finds no difference, and each has written where the picture says."""
    (tmp_path / "seed.py").write_text(_SEED)
    where = {
        "AWS_ENDPOINT_URL_KINESIS": kinesis_local.url,
        "AWS_ENDPOINT_URL_DYNAMODB": ministack.url,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "STACK_FROM": str(tmp_path),
        "XDG_STATE_HOME": str(tmp_path / "state"),
    }
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", lines(BLOCK)],
        cwd=tmp_path,
        env={**os.environ, **where},
        capture_output=True,
        text=True,
        check=False,
    )
    logs = "\n".join(f"== {p.name}\n{p.read_text()}" for p in sorted(tmp_path.glob("*.log")))
    assert done.returncode == 0, done.stdout + done.stderr + logs
    assert "equal: 500 keys in 1 table" in done.stdout
    assert "500 events in 8 of 8 partitions; the store has all of them" in done.stdout
    written = re.findall(r"Writes (\d+)", (tmp_path / "lambda.log").read_text())
    assert sum(map(int, written)) == 500  # by the function, and not by anybody else
    [worker] = (tmp_path / "state").rglob("worker.json")
    shards = json.loads(worker.read_text())["shards"]
    # Each counts from its own start: one whose daemon was held up has its lease anew, and begins at 0.
    assert 0 < sum(shard["writes"] for shard in shards) <= 500
    assert {shard["state"] for shard in shards} == {"stopped"}
    for region, table in ((LAZY, "lazy.orders"), ("us-east-1", "live.orders")):
        client = boto3.client("dynamodb", endpoint_url=ministack.url, region_name=region)
        tables = {name for name in client.list_tables()["TableNames"] if name.endswith(".orders")}
        assert table in tables
        assert tables.isdisjoint({"lazy.orders", "live.orders"} - {table})
