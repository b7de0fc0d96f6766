"""A stream, a store, and environments of a function between them; all in one process."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import Any

from appliers.stores.memory import MemoryStore
from appliers.summary import summarize
from binlog.actions import build
from binlog.clock import Clock
from binlog.envelope import Envelope
from binlog.log import Log
from binlog.params import Params
from binlog.partition import ordering_key, partition_of
from binlog.producer import LambdaProducer, ProducerOptions
from binlog.values import decode_value, encode_value
from consumers.aws_lambda_function import Function
from consumers.aws_lambda_mapping import is_of
from consumers.aws_lambda_settings import Settings
from snapshots.rebuild import Wanted, rebuild
from tests.lambda_consumer.event_source_mapping import DoubleSource, FailedError, Mapping
from tests.lambda_consumer.event_source_mapping import Settings as MappingSettings
from tests.log.kinesis_world import KinesisWorld
from tests.log.log_frames import PARAMS

TABLE = "counts"
FUNCTION = "arn:aws:lambda:us-east-1:000000000000:function:applier"
MAPPING: dict[str, Any] = {
    "UUID": "m1",
    "EventSourceArn": "arn:aws:kinesis:us-east-1:000000000000:stream/s",
    "StartingPosition": "TRIM_HORIZON",
    "FunctionResponseTypes": ["ReportBatchItemFailures"],
    "MaximumRetryAttempts": -1,
    "MaximumRecordAgeInSeconds": -1,
    "State": "Enabled",
}
AGE_MS = 600_000
KEYS = [f"k{number}" for number in range(12)]


class Context:
    """What a handler is given; its time is the clock's."""

    aws_request_id = "request-1"
    invoked_function_arn = FUNCTION

    def __init__(self, seconds: float = 60.0) -> None:
        self.seconds = seconds

    def get_remaining_time_in_millis(self) -> int:
        return round(self.seconds * 1000)


class KilledError(BaseException):
    """The environment is gone in the middle of whatever it did."""


Hook = Callable[[str], None]
"""Called before and after each call of a store, with its name: ``commit``, ``commit done`` .."""


class HookedStore(MemoryStore):
    """A handle on a store's content, whose calls may go wrong."""

    def __init__(self, content: MemoryStore, hook: Hook) -> None:
        super().__init__(name=content.name)
        self._content, self._mutex = content._content, content._mutex
        self._writer = content._writer
        if hasattr(content, "_team"):
            self._team = content._team
        self._hook = hook

    def generations(self) -> Any:
        return self._hooked("generations", super().generations)

    def checkpoints(self, *arguments: Any, **more: Any) -> Any:
        return self._hooked("checkpoints", super().checkpoints, *arguments, **more)

    def read(self, *arguments: Any, **more: Any) -> Any:
        return self._hooked("read", super().read, *arguments, **more)

    def commit(self, *arguments: Any, **more: Any) -> Any:
        return self._hooked("commit", super().commit, *arguments, **more)

    def _hooked(self, name: str, call: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
        self._hook(name)
        answer = call(*arguments, **more)
        self._hook(f"{name} done")
        return answer


def key_of(partition: int) -> str:
    """A key of `TABLE` in a partition."""
    for number in range(1_000):
        name = f"k{number}"
        if partition_of_key(name) == partition:
            return name
    raise AssertionError("unreachable")


def partition_of_key(name: str, params: Params = PARAMS) -> int:
    return partition_of(ordering_key(TABLE, encode_value({"id": name})), params.partitions)


class FunctionWorld:
    """A stream ``s`` of a log, a store in memory, and what was published."""

    def __init__(
        self, shards: int = 1, *, world: KinesisWorld | None = None, **settings: Any
    ) -> None:
        """``world``: a stream that others use, too."""
        self.world = KinesisWorld(shards) if world is None else world
        self.store = MemoryStore(name="memory:live")
        self.settings = Settings(
            log="kinesis://s", store="dynamodb://live", **{"mapping": "check", **settings}
        )
        self.mappings: list[dict[str, Any]] | Exception = [dict(MAPPING)]
        self.lines: list[str] = []
        self.looked = 0
        self.counts: Counter[str] = Counter()  # acknowledged events, by key
        self.clock: Clock = self.world.clock
        self._producer: LambdaProducer | None = None
        self._born_ms = 0
        self._ids = 0

    @property
    def stream(self) -> Any:
        return self.world.stream

    # -- publishing ------------------------------------------------------------------------------

    def publish(self, keys: Iterable[str]) -> None:
        """One to the count of each key, an event each."""
        names = list(keys)
        self.publish_actions(
            [
                {
                    "Action": "UpdateItem",
                    "Table": TABLE,
                    "Key": {"id": name},
                    "Data": {"Add": {"n": 1}},
                }
                for name in names
            ]
        )
        self.counts.update(names)

    def publish_actions(self, actions: Sequence[dict[str, Any]]) -> None:
        envelopes: list[Envelope] = []
        for action in actions:
            envelopes += build(action, now_ms=self.clock.now_ms(), new_id=self._new_id)
        with self._living().invocation(Context()) as batch:
            batch.publish_many(envelopes)

    def _living(self) -> LambdaProducer:
        """A producer whose session is young; its own clock is ours, and the stream's is set."""
        age_ms = self.clock.now_ms() - self._born_ms
        if self._producer is None or not 0 <= age_ms < AGE_MS:
            self._born_ms = self.clock.now_ms()
            options = ProducerOptions(retry_first_s=0.001, retry_most_s=0.002)
            self._producer = LambdaProducer(self.world.open(), options=options, attempt_s=0.0)
        return self._producer

    def _new_id(self) -> str:
        self._ids += 1
        return f"e{self._ids}"

    # -- the function ----------------------------------------------------------------------------

    def environment(self, store: MemoryStore | None = None, **more: Any) -> Function:
        """A new one; ``store`` is its handle."""
        options: dict[str, Any] = {
            "clock": self.clock,
            "open_log": lambda _: self.open_log(),
            "open_store": lambda _: self.store.open() if store is None else store,
            "mappings": self.list_mappings,
            "write": self.lines.append,
        }
        return Function(self.settings, **options | more)

    def open_log(self) -> Log:
        return self.world.open()

    def list_mappings(self, stream_arn: str, function: str) -> list[dict[str, Any]]:
        assert function == FUNCTION
        self.looked += 1
        if isinstance(self.mappings, Exception):
            raise self.mappings
        return [each for each in self.mappings if is_of(each, stream_arn)]

    def mapping(
        self, invoke: Callable[[dict[str, Any]], Any] | Function, *, seed: int = 0, **settings: Any
    ) -> Mapping:
        if isinstance(invoke, Function):
            invoke = invoking(invoke)
        source = DoubleSource(self.stream)
        how = MappingSettings(**settings)
        return Mapping(source, invoke, how, clock=self.clock, random=Random(seed))

    def told(self) -> list[dict[str, Any]]:
        """The metrics so far, a document an invocation."""
        return [json.loads(line) for line in self.lines]

    # -- what came of it -------------------------------------------------------------------------

    def found(self) -> Counter[str]:
        """The store's counts, by key."""
        rows = (decode_value(row.data) for _, row in self.store.scan(TABLE) if row.data is not None)
        return Counter({item["id"]: int(item["n"]) for item in rows})

    def check_complete(self) -> None:
        """Everything acknowledged is there once, and the store is what a rebuild makes."""
        assert self.found() == self.counts
        reference = MemoryStore()
        rebuild(self.world.open(), reference, Wanted(rules=self.settings.rules))
        assert summarize(self.store) == summarize(reference)


def invoking(function: Function, context: Context | None = None) -> Callable[[dict[str, Any]], Any]:
    """A function as a mapping invokes it: through JSON, and its errors are the service's."""

    def invoke(event: dict[str, Any]) -> Any:
        try:
            response = function.handle(json.loads(json.dumps(event)), context or Context())
        except (Exception, KilledError) as error:
            raise FailedError(str(error)) from error
        return json.loads(json.dumps(response))

    return invoke
