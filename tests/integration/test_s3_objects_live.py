"""S3's stand-in keeps the contract of objects; so it does among processes, and over broken sockets."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from binlog.aws.account import Account, connector
from binlog.errors import RefusedError
from binlog.objects import open_objects
from binlog.objects.s3 import S3Objects
from scripts.standins.server import Server
from tests.contracts.objects_contract import CLAIMS, Claim, ObjectsPlace

ROOT = Path(__file__).parents[2]

RACER = """
import sys
from binlog.objects import open_objects
objects = open_objects(sys.argv[1])
objects.get("nothing")
print("ready", flush=True)
sys.stdin.readline()
for number in range(int(sys.argv[3])):
    print(number if objects.put_new(f"race/{number}", sys.argv[2].encode() * 30_000) else -1)
"""


@pytest.fixture(scope="module")
def bucket(ministack: Server) -> str:
    return f"objects-{os.getpid()}"


@pytest.fixture
def url(ministack: Server, bucket: str, stream_name: Callable[[], str]) -> str:
    client = connector(Account(endpoint=ministack.url), "s3", "s3://")()
    client.create_bucket(Bucket=bucket)
    client.close()
    return f"s3://{bucket}/{stream_name()}?endpoint={ministack.url}"


@pytest.fixture
def place(url: str) -> Iterator[ObjectsPlace]:
    made = ObjectsPlace(lambda: open_objects(url))
    made.page = 1_000
    yield made
    for objects in made.opened:
        objects.close()


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.__name__)
def test_s3_contract(claim: Claim, place: ObjectsPlace) -> None:
    claim(place)


def test_of_racing_processes_one_wins_each_key(url: str) -> None:
    rounds = 12
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, url, name, str(rounds)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("a", "b", "c")
    ]
    try:
        for each in racers:
            assert each.stdout is not None
            assert each.stdout.readline() == "ready\n"
        for each in racers:
            assert each.stdin is not None
            each.stdin.write("\n")
            each.stdin.flush()
        said = [[int(line) for line in each.communicate()[0].split()] for each in racers]
    finally:
        for each in racers:
            each.kill()
            each.wait()
    objects = open_objects(url)
    for number in range(rounds):
        winners = [who for who, numbers in zip("abc", said, strict=True) if number in numbers]
        assert len(winners) == 1, (number, said)
        assert objects.get(f"race/{number}") == winners[0].encode() * 30_000
    objects.close()


def _lose_replies(objects: S3Objects, count: int) -> list[int]:
    """Let the connection break after the service has answered a put, ``count`` times."""
    from botocore.exceptions import ConnectionClosedError

    lost: list[int] = []

    def lose(**_: object) -> None:
        if len(lost) < count:
            lost.append(1)
            raise ConnectionClosedError(endpoint_url="here")

    objects.clients.puts.meta.events.register("before-parse.s3.PutObject", lose)
    return lost


def test_a_lost_reply_is_read_again(url: str) -> None:
    """The service answers 412 to our own object: it is ours all the same, and theirs is not."""
    objects = open_objects(url)
    assert isinstance(objects, S3Objects)
    lost = _lose_replies(objects, 2)
    assert objects.put_new("a", b"ours") is True
    assert len(lost) == 2
    other = open_objects(url)
    assert isinstance(other, S3Objects)
    lost = _lose_replies(other, 1)
    assert other.put_new("a", b"theirs") is False
    assert len(lost) == 1
    assert other.get("a") == b"ours"
    objects.close()
    other.close()


def test_a_put_that_is_cut_in_the_middle_leaves_nothing(ministack: Server, url: str) -> None:
    """Its head promises more than came before the connection broke; then another one may write it."""
    objects = open_objects(url)
    assert isinstance(objects, S3Objects)
    path = f"/{objects.bucket}/{objects.prefix}cut"
    head = (
        f"PUT {path} HTTP/1.1\r\nHost: 127.0.0.1:{ministack.port}\r\nIf-None-Match: *\r\n"
        "Authorization: AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request,"
        " SignedHeaders=host;x-amz-date, Signature=0\r\nX-Amz-Date: 20260101T000000Z\r\n"
        "X-Amz-Content-Sha256: UNSIGNED-PAYLOAD\r\nContent-Length: 100000\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", ministack.port)) as half:
        half.sendall(head.encode() + b"x" * 50_000)
    assert objects.get("cut") is None
    assert list(objects.list("cut")) == []
    assert objects.put_new("cut", b"whole") is True
    assert objects.get("cut") == b"whole"
    objects.close()


def test_a_bucket_that_is_not_there_is_one_line(ministack: Server) -> None:
    objects = open_objects(f"s3://no-such-bucket-here/a?endpoint={ministack.url}")
    calls: list[Callable[[], object]] = [
        lambda: objects.put_new("a", b""),
        lambda: objects.put("a", b""),
        lambda: objects.get("a"),
        lambda: list(objects.list()),
        lambda: objects.delete(["a"]),
    ]
    for call in calls:
        with pytest.raises(RefusedError, match="no such bucket") as raised:
            call()
        assert "\n" not in str(raised.value)
    objects.close()


def test_a_forked_child_goes_on_with_connections_of_its_own(url: str) -> None:
    objects = open_objects(url)
    assert objects.put_new("a", b"parent") is True
    child = os.fork()
    if child == 0:
        status = 2
        try:
            status = int(not (objects.get("a") == b"parent" and objects.put_new("b", b"child")))
        finally:
            os._exit(status)  # whatever happens: it must not go on as a second run of the tests
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert objects.get("b") == b"child"
    objects.close()
