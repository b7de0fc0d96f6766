"""The stack, with a Kinesis of its own that forgets what is older than a day.

The stack's keeps everything for as long as it runs. This one is kinesalite, on a clock that a drill sets
ahead; it is no service for the KCL, and of consumers `binlog replicate` alone runs on it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from binlog.address import open_log
from binlog.drills.clock import ClockAhead
from binlog.drills.targets.copying import copying_objects
from binlog.drills.targets.stack_aws import Stack
from binlog.log import Log
from scripts.standins.later import HOUR_MS, LaterKinesalite
from scripts.standins.server import Server

KINESIS = "AWS_ENDPOINT_URL_KINESIS"


class LaterClock:
    """The service's, by the file that it reads its lead from."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._hours = 0.0
        self.advance_hours(0)

    def advance_hours(self, hours: float) -> None:
        """Let hours pass."""
        self._hours += hours
        aside = self.path.with_suffix(".new")
        aside.write_text(str(round(self._hours * HOUR_MS)))
        aside.replace(self.path)


class KinesisForgets(Stack):
    """`Stack`, but for the log."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.clock = LaterClock(folder / "ahead")
        self._server = Server(LaterKinesalite(self.clock.path), folder / "kinesalite")
        self._endpoints[KINESIS] = self._server.url
        self._kinesis.close()
        self._kinesis = self._session.client("kinesis", endpoint_url=self._server.url)

    @property
    def environment(self) -> Mapping[str, str]:
        return {**super().environment, KINESIS: self._server.url}

    def typed(self, command: str) -> str:
        """Consumers are `binlog replicate`: neither the KCL nor a mapping knows this stream."""
        return copying_objects(command)

    def open_log(self, name: str = "log", *, clock_s: float = 0.0) -> Log:
        address = self._addresses[name]
        if name == "log":  # this process's environment is the stack's
            address = f"{address}?endpoint={self._server.url}"
        return open_log(address, clock=ClockAhead(clock_s))

    def _parts(self, name: str) -> Iterator[str]:
        """Of the log what it gives: a service tells of what it has forgotten by nothing else."""
        yield from super()._parts(name)
        if name == "log":
            for shard in self._kinesis.list_shards(StreamName=self._name)["Shards"]:
                reply = self._kinesis.get_shard_iterator(
                    StreamName=self._name,
                    ShardId=shard["ShardId"],
                    ShardIteratorType="TRIM_HORIZON",
                )
                page = self._kinesis.get_records(ShardIterator=reply["ShardIterator"])
                yield from (record["SequenceNumber"] for record in page["Records"])

    def versions(self) -> dict[str, str]:
        return {**super().versions(), "kinesis": "kinesalite, on a clock that is set ahead"}

    def close(self) -> list[str]:
        left = super().close()
        self._server.kill()
        return left
