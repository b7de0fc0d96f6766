"""One way to name things: a URL. What is none is refused with what to write instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from binlog.address import Address, open_log, parse_address
from binlog.aws.account import Account
from binlog.errors import RefusedError
from binlog.logs import create_directory_log
from tests.log.log_frames import PARAMS


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("file:log", Address("file", "log")),
        ("file:/var/lib/my log?x=%20", Address("file", "/var/lib/my log?x=%20")),
        ("file:///var/log", Address("file", "/var/log")),
        ("FILE:a:b", Address("file", "a:b")),
        ("sqlite:./replica.db", Address("sqlite", "./replica.db")),
        ("memory:", Address("memory", "")),
        ("kinesis://orders", Address("kinesis", "orders")),
        (
            "kinesis://orders?region=eu-west-1&profile=dev&endpoint=http%3A%2F%2Flocalhost%3A4567",
            Address(
                "kinesis",
                "orders",
                Account(region="eu-west-1", profile="dev", endpoint="http://localhost:4567"),
            ),
        ),
        ("kinesis://orders?reads=2.5", Address("kinesis", "orders", reads=2.5)),
        ("s3://bucket/a/b/", Address("s3", "bucket/a/b")),
        ("dynamodb://live-", Address("dynamodb", "live-")),
    ],
)
def test_an_address_is_parsed(url: str, address: Address) -> None:
    assert parse_address(url) == address


def test_an_address_is_printed_as_it_is_written() -> None:
    for url in ("file:log", "sqlite:a.db", "memory:", "kinesis://orders", "s3://bucket/prefix"):
        assert str(parse_address(url)) == url


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("log", "write file:log"),
        ("/var/lib/log", "write file:/var/lib/log"),
        ("replica.db", "write sqlite:replica.db"),
        ("", "write file:PATH"),
        ("file:", "write file:PATH"),
        ("file://host/path", "write file:host/path"),
        ("sqlite:", "write sqlite:PATH"),
        ("memory:x", "write memory:"),
        ("kinesis:orders", "write kinesis://STREAM"),
        ("kinesis://", "write kinesis://STREAM"),
        ("s3:///", "write s3://BUCKET/PREFIX"),
        ("kinesis://orders?regoin=x", "'regoin'"),
        ("kinesis://orders?region=", "'region'"),
        ("kinesis://orders?region", "region=NAME"),
        ("kinesis://orders?reads=0", "reads=0"),
        ("kinesis://orders?reads=-1", "reads=-1"),
        ("kinesis://orders?reads=nan", "reads=nan"),
        ("kinesis://orders?reads=fast", "reads=fast"),
        ("dynamodb://orders?reads=1", "'reads'"),
        ("kinesis://orders/eu", "A-Z"),
        ("kinesis://or%20ders", "A-Z"),
        ("http://example", "unknown scheme"),
    ],
)
def test_what_is_no_address_is_refused_with_advice(url: str, says: str) -> None:
    with pytest.raises(RefusedError) as caught:
        parse_address(url)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_log_is_opened_by_its_address(tmp_path: Path) -> None:
    create_directory_log(tmp_path / "log", PARAMS)
    log = open_log(f"file:{tmp_path}/log")
    assert log.params == PARAMS
    log.close()


@pytest.mark.parametrize("url", ["memory:", "sqlite:x.db", "s3://bucket/x", "file:nowhere"])
def test_what_is_no_log_is_not_opened(url: str) -> None:
    with pytest.raises(RefusedError):
        open_log(url)
