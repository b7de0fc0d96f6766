"""A running stand-in that forgets what is older than a day, and is brought days ahead."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from appliers.stores import SQLiteStore
from binlog.aws.account import Account
from binlog.changes import put_item
from binlog.errors import TrimmedError
from binlog.logs.kinesis import KinesisLog, kinesis_service
from binlog.logs.kinesis_genesis import StreamOptions, create_kinesis_log
from binlog.params import Params
from binlog.producer import Producer
from consumers.lag import measure
from consumers.local import Following, replicate
from scripts.standins.install import CannotRunError
from scripts.standins.later import HOUR_MS, LaterKinesalite
from scripts.standins.server import Server


@pytest.fixture
def ahead(tmp_path: Path) -> Path:
    path = tmp_path / "ahead"
    path.write_text("0")
    return path


@pytest.fixture
def server(ahead: Path, tmp_path: Path) -> Iterator[Server]:
    try:
        server = Server(LaterKinesalite(ahead), tmp_path / "kinesalite")
    except CannotRunError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(f"cannot run: {error}")
        pytest.skip(f"cannot run: {error}")
    yield server
    server.kill()


def test_a_quiet_stream_is_gone_on_with_for_days(
    server: Server, ahead: Path, stream_name: Callable[[], str], tmp_path: Path
) -> None:
    """Nothing of what was read is there any more, and what comes then is not missed."""
    account = Account(endpoint=server.url)
    service = kinesis_service(stream_name(), account=account)
    create_kinesis_log(service, Params(log_id="0" * 32, partitions=4), StreamOptions(shards=2))

    def open_log() -> KinesisLog:
        return KinesisLog(service.stream, account=account, reads_per_s=1_000.0)

    def at(hours: float) -> None:
        aside = ahead.with_suffix(".new")  # the service reads the file at any time
        aside.write_text(str(round(hours * HOUR_MS)))
        aside.replace(ahead)

    def publish(*numbers: int) -> None:
        with closing(open_log()) as log, Producer(log) as producer:
            producer.append_many([put_item("orders", {"id": n}, key="id") for n in numbers])

    def look() -> int:
        """A process of its own, with what the file of the store says."""
        with closing(open_log()) as log, closing(SQLiteStore(tmp_path / "store.db")) as store:
            replicate(log, store, Following(once=True))
            assert {each.lag_events for each in measure(log, store).partitions} == {0}
            (generation,) = store.generations()
            return sum(row.applied for row in store.checkpoints(generation.id).values())

    publish(*range(9))
    assert look() == 9
    for day in range(1, 5):
        at(day * 23)
        assert look() == 9
    assert not any(service.first_records(shard) for shard in service.shard_ids())
    publish(9, 10, 11)
    at(5 * 23)
    assert look() == 12
    publish(12)
    at(5 * 23 + 25)
    with pytest.raises(TrimmedError, match="retention"):
        look()
