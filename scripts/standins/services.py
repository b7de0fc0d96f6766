"""Which stand-ins there are, how each is started, and how it shows that it is alive.

What each is right about, and what it cannot do, stands beside it: a test that needs the one may
not run on the other.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

from scripts.standins import install

REGION = "us-east-1"
_NODE_LISTENING = "listening on "  # preload.js
ANSWER_S = 20.0  # a service that has much to do is alive
_CREDENTIAL = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/any/aws4_request, "


class Start(NamedTuple):
    """A command line, what its environment has beside ours, and where it runs."""

    command: list[str]
    environment: Mapping[str, str]
    folder: Path


class Service(Protocol):
    """One stand-in. ``serves`` are the services' names in `AWS_ENDPOINT_URL_...`."""

    @property
    def name(self) -> str: ...
    @property
    def serves(self) -> tuple[str, ...]: ...
    @property
    def target(self) -> str:
        """An operation that changes nothing and needs nothing."""

    @property
    def ports(self) -> int: ...
    @property
    def listening(self) -> str:
        """What its log says before the place where it listens."""

    def start(self, ports: list[int], data: Path) -> Start:
        """How to start it on these ports, the first one its address, keeping its data there.

        Raises:
            CannotRunError: this machine lacks what it runs on.
        """


class KinesisLocal:
    """Resharding and semantics. Keeps nothing over a SIGKILL, trims nothing, slow with depth."""

    name = "kinesis-local"
    serves = ("KINESIS",)
    target = "Kinesis_20131202.ListStreams"
    ports = 2  # plain and TLS
    listening = _NODE_LISTENING

    def start(self, ports: list[int], data: Path) -> Start:  # noqa: ARG002
        folder = install.node_modules() / "kinesis-local"
        durations = ("CREATE_STREAM", "DELETE_STREAM", "SPLIT_SHARD", "MERGE_SHARDS")
        environment = {f"{name}_DURATION": "50ms" for name in durations} | {
            "UPDATE_SHARD_COUNT_DURATION": "50ms",
            "START_STREAM_ENCRYPTION_DURATION": "50ms",
            "KINESIS_MOCK_PLAIN_PORT": str(ports[0]),
            "KINESIS_MOCK_TLS_PORT": str(ports[1]),
            "SHARD_LIMIT": "500",
            "LOG_LEVEL": "WARN",
        }
        return Start([*_node(), "main.js"], environment, folder)


class Kinesalite:
    """Volume and crashes: durable on disk. No encryption, no on-demand streams, not for KCL."""

    name = "kinesalite"
    serves = ("KINESIS",)
    target = "Kinesis_20131202.ListStreams"
    ports = 1
    listening = _NODE_LISTENING

    def start(self, ports: list[int], data: Path) -> Start:
        folder = install.node_modules() / "kinesalite"
        options = {"port": str(ports[0]), "path": str(data / "kinesalite"), "shardLimit": "500"}
        options |= {f"{name}StreamMs": "20" for name in ("create", "delete", "update")}
        arguments = [word for name, value in options.items() for word in (f"--{name}", value)]
        return Start([*_node(), "cli.js", *arguments], {}, folder)


class Ministack:
    """DynamoDB and S3 (and more; its Kinesis hides closed shards: not for a log)."""

    name = "ministack"
    serves = ("DYNAMODB", "S3")
    target = "DynamoDB_20120810.ListTables"
    ports = 1
    listening = "Running on http://"

    def start(self, ports: list[int], data: Path) -> Start:
        environment = {
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(ports[0]),
            "S3_PERSIST": "1",
            "S3_DATA_DIR": str(data / "s3"),
            "STATE_DIR": str(data / "ministack"),
        }
        return Start([str(install.python_environment() / "ministack")], environment, data)


KINESIS_LOCAL, KINESALITE, MINISTACK = KinesisLocal(), Kinesalite(), Ministack()
ALL: tuple[Service, ...] = (KINESIS_LOCAL, KINESALITE, MINISTACK)


def _node() -> list[str]:
    return [install.node().program, "-r", str(install.PINS / "preload.js")]


def is_alive(service: Service, port: int) -> bool:
    """Whether something on that port answers as the service does."""
    kind = "1.1" if service.target.startswith("Kinesis") else "1.0"
    headers = {
        "X-Amz-Target": service.target,
        "X-Amz-Date": "20260101T000000Z",
        "Content-Type": f"application/x-amz-json-{kind}",
        "Authorization": f"{_CREDENTIAL}SignedHeaders=host;x-amz-date, Signature=0",
    }
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_S)
    try:
        connection.request("POST", "/", b"{}", headers)
        reply = connection.getresponse()
        names = json.loads(reply.read())
    except (OSError, http.client.HTTPException, ValueError):
        return False
    finally:
        connection.close()
    return reply.status == http.HTTPStatus.OK and isinstance(names, dict)
