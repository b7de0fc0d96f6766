"""Making a log of a stream: once, whatever dies in the middle, and never of another's."""

from __future__ import annotations

import itertools

import google_crc32c
import msgspec
import pytest
from botocore.exceptions import ClientError

from binlog.clock import ManualClock
from binlog.compression import compress
from binlog.control import genesis_frame
from binlog.errors import (
    BinlogError,
    ConflictError,
    DamageError,
    MismatchError,
    RefusedError,
    StorageError,
)
from binlog.frame import FLAG_COMPRESSED, HEADER_BYTES, decode_header, stamp_born
from binlog.logs.kinesis import KinesisLog, kinesis_service
from binlog.logs.kinesis_genesis import (
    LOG_ID_TAG,
    StreamOptions,
    create_kinesis_log,
    genesis_of_tags,
    tags_of,
)
from binlog.logs.kinesis_service import Service
from binlog.params import Params, encode_genesis
from binlog.partition import explicit_hash_key, partition_key
from binlog.reader import Reader
from tests.log.kinesis_double import Fault, KinesisDouble, refusal

WANTED = Params(log_id="0" * 32, partitions=6)
SHARDS = StreamOptions(shards=2)


class Account:
    """A double, and what works on its stream ``s``."""

    def __init__(self) -> None:
        self.clock = ManualClock(1_700_000_000_123)
        self.double = KinesisDouble(self.clock)

    def pause(self, seconds: float) -> None:
        self.clock.advance(max(1, round(seconds * 1_000)))

    def service(self) -> Service:
        return kinesis_service("s", connect=self.double.connect, clock=self.clock, pause=self.pause)

    def init(self, wanted: Params = WANTED, options: StreamOptions = SHARDS) -> tuple[str, Params]:
        return create_kinesis_log(self.service(), wanted, options)

    def open(self) -> KinesisLog:
        return KinesisLog("s", connect=self.double.connect, clock=self.clock, pause=self.pause)

    def check(self) -> KinesisLog:
        """Every partition begins with the log's own genesis record, and is not halted."""
        log = self.open()
        reader = Reader(log)
        while reader.read() is not None:
            pass
        assert not reader.halts
        assert all(reader.checkpoint(p).position.sequence > 0 for p in reader.partitions)
        return log


@pytest.fixture
def account() -> Account:
    return Account()


def test_init_makes_the_stream_and_the_log_and_then_finds_them(account: Account) -> None:
    state, params = account.init()
    assert state == "created"
    assert msgspec.structs.replace(params, log_id=WANTED.log_id) == WANTED
    assert account.double.streams["s"].tags[LOG_ID_TAG] == params.log_id
    assert len(account.double.streams["s"].shards) == 2
    calls = account.double.calls["put_records"]
    assert account.init() == ("exists", params)
    assert account.double.calls["put_records"] == calls
    log = account.check()
    assert (log.params, log.genesis) == (params, encode_genesis(params))


def test_a_stream_that_is_made_again_is_another_log(account: Account) -> None:
    """Else a store of the old one would go on with the new one's events."""
    _, one = account.init()
    del account.double.streams["s"]
    account.clock.advance(1)
    _, two = account.init()
    assert one.log_id != two.log_id


OPERATIONS = [
    "create_stream",
    "describe_stream_summary",
    "list_tags_for_stream",
    "list_shards",
    "get_shard_iterator",
    "get_records",
    "increase_stream_retention_period",
    "start_stream_encryption",
    "put_records",
    "add_tags_to_stream",
]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_what_a_failed_init_left_is_finished_by_the_next(account: Account, operation: str) -> None:
    options = StreamOptions(shards=2, retention_hours=168, kms_key="alias/k")
    state, params, after = "", WANTED, 0
    for after in itertools.count():
        double = account.double
        made = double.calls[operation]

        class Dies(dict[str, ClientError]):
            def __contains__(self, name: object) -> bool:
                return name == operation and double.calls[operation] > made + after  # noqa: B023

            def __getitem__(self, name: str) -> ClientError:
                return refusal("AccessDeniedException")

        double.refuse = Dies()
        try:
            state, params = account.init(options=options)
            break
        except BinlogError:
            assert after < 30
        finally:
            double.refuse = {}
    assert after > 0, "the operation was never called"
    assert state in {"created", "exists"}
    assert account.init(options=options) == ("exists", params)
    account.check()
    stream = account.double.streams["s"]
    assert stream.retention_hours == 168
    assert stream.described["KeyId"] == "alias/k"


def test_two_that_make_it_at_once_make_one_log(account: Account) -> None:
    """The id is the stream's, so both write the same bytes; a genesis may come again."""
    account.init()
    account.double.streams["s"].tags.clear()  # as the second one saw it
    state, _ = account.init()
    assert state == "created"
    account.check()


def test_lost_replies_and_throttles_do_no_harm(account: Account) -> None:
    account.double.faults.extend(
        [Fault("lose reply"), Fault("throttle", frozenset({1, 3})), Fault("fail", frozenset({0}))]
    )
    assert account.init()[0] == "created"
    account.check()


def test_a_service_that_stays_away_ends_it(account: Account) -> None:
    account.double.faults.extend([Fault("unreached")] * 1_000)
    with pytest.raises(StorageError):
        account.init()


@pytest.mark.parametrize("has_tags", [True, False])
def test_other_parameters_are_refused_and_named(account: Account, has_tags: bool) -> None:
    account.init()
    if not has_tags:
        account.double.streams["s"].tags.clear()
    other = msgspec.structs.replace(WANTED, partitions=7)
    with pytest.raises(ConflictError, match="partitions: found 6, expected 7"):
        account.init(other)
    account.check()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (StreamOptions(retention_hours=48), "retention: found 24 h, expected 48 h"),
        (StreamOptions(kms_key="alias/k"), "encryption: found none"),
    ],
)
def test_other_options_than_a_finished_streams_are_refused(
    account: Account, options: StreamOptions, says: str
) -> None:
    account.init()
    with pytest.raises(ConflictError, match=says):
        account.init(options=options)
    assert account.init(options=StreamOptions())[0] == "exists"


def test_frames_of_another_log_are_refused(account: Account) -> None:
    account.service().call("create_stream", StreamName="s", ShardCount=1)
    other = Params(log_id="ab" * 16, partitions=6)
    record = {
        "PartitionKey": partition_key(3),
        "ExplicitHashKey": str(explicit_hash_key(3, 6)),
        "Data": stamp_born(genesis_frame(other, encode_genesis(other), 3), 5),
    }
    account.double.streams["s"].land(record, account.clock.now_ms())
    with pytest.raises(MismatchError, match=f"log {'ab' * 16}"):
        account.init()
    assert account.double.calls["put_records"] == 0


def land_sample(account: Account, *, key_of: int) -> None:
    """A record of somebody else's under a partition's own key, in the shard that 5 is in."""
    record = {
        "PartitionKey": partition_key(key_of),
        "ExplicitHashKey": str(explicit_hash_key(5, 6)),
        "Data": b"a sample",
    }
    account.double.streams["s"].land(record, account.clock.now_ms())


def test_a_record_before_the_genesis_under_the_logs_own_key_is_refused(account: Account) -> None:
    """`init` would say "created", and every reader stop before the first event."""
    account.service().call("create_stream", StreamName="s", ShardCount=2)
    land_sample(account, key_of=5)
    with pytest.raises(MismatchError, match="'p0005', which is the log's own"):
        account.init()
    assert account.double.calls["put_records"] == 0


def test_under_the_key_of_a_partition_of_another_shard_it_is_foreign(account: Account) -> None:
    account.service().call("create_stream", StreamName="s", ShardCount=2)
    land_sample(account, key_of=0)
    assert account.init()[0] == "created"
    account.check()


def test_a_record_behind_a_genesis_does_not_keep_init_from_finishing(account: Account) -> None:
    """It halts the partition, and an operator decides; what is half made has to get there."""
    account.init()
    stream = account.double.streams["s"]
    stream.tags.clear()
    land_sample(account, key_of=5)
    assert account.init()[0] == "created"
    assert stream.tags


@pytest.mark.parametrize("size", [70_000, 1 << 30])
def test_a_genesis_that_grows_when_unpacked_is_none(
    account: Account, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever may put could make every start of ours take as much memory as it likes."""
    account.service().call("create_stream", StreamName="s", ShardCount=1)
    monkeypatch.setattr(
        "binlog.logs.kinesis_genesis.decode_body", lambda *_: pytest.fail("it was unpacked")
    )
    packed = compress(bytes(70_000))
    genesis = bytearray(genesis_frame(WANTED, encode_genesis(WANTED), 0)[:HEADER_BYTES])
    genesis[5] |= FLAG_COMPRESSED
    genesis[12:16] = google_crc32c.value(packed).to_bytes(4, "big")
    genesis[124:128] = len(packed).to_bytes(4, "big")
    genesis[128:132] = size.to_bytes(4, "big")
    data = stamp_born(bytes(genesis) + packed, 5)
    assert decode_header(data).body_bytes == size
    record = {"PartitionKey": "p0000", "ExplicitHashKey": "7", "Data": data}
    account.double.streams["s"].land(record, account.clock.now_ms())
    with pytest.raises(MismatchError, match="no log"):
        account.open()


def test_a_stream_with_foreign_records_can_become_a_log(account: Account) -> None:
    """The policy for them is pinned; they are nobody's frames."""
    account.service().call("create_stream", StreamName="s", ShardCount=1)
    record = {"PartitionKey": "customer-9", "ExplicitHashKey": "7", "Data": b"BLFR, or not"}
    account.double.streams["s"].land(record, account.clock.now_ms())
    assert account.init(msgspec.structs.replace(WANTED, foreign="skip"))[0] == "created"
    account.check()


def test_a_stream_that_orders_by_itself_is_refused(account: Account) -> None:
    account.init()
    account.double.streams["s"].described["RecordDistributionStrategy"] = "AUTO"
    for attempt in (account.init, account.open):
        with pytest.raises(RefusedError, match="AUTO"):
            attempt()


def test_no_stream_is_made_without_being_asked_for(account: Account) -> None:
    with pytest.raises(RefusedError, match="--shards"):
        account.init(options=StreamOptions())
    with pytest.raises(RefusedError, match="no such stream"):
        account.open()
    assert not account.double.streams


def test_a_stream_that_is_no_log_is_not_opened(account: Account) -> None:
    account.service().call("create_stream", StreamName="s", ShardCount=2)
    with pytest.raises(MismatchError, match="a stream, but no log"):
        account.open()


# -- tags ----------------------------------------------------------------------------------------


def test_without_tags_the_genesis_is_read_from_the_stream(account: Account) -> None:
    """Another tool may have taken them away."""
    _, params = account.init()
    account.double.streams["s"].tags.clear()
    assert account.open().params == params


def test_half_a_genesis_is_none(account: Account) -> None:
    """A frame that lands before its partition's genesis is lost to every reader."""
    account.double.faults.extend(
        [Fault("throttle", frozenset({1, 4}))] + [Fault("unreached")] * 999
    )
    with pytest.raises(StorageError):
        account.init()
    account.double.faults.clear()
    with pytest.raises(MismatchError, match=r"4 of 6 partitions only.*repeat"):
        account.open()
    assert account.init()[0] == "created"
    account.check()


def test_replies_without_a_date_make_no_log(account: Account) -> None:
    """Without one a session has no birth, and what is acknowledged counts nowhere."""
    account.init()
    account.double.has_dates = False
    for attempt in (account.init, account.open):
        with pytest.raises(RefusedError, match="no Date"):
            attempt()


def test_a_genesis_that_the_stream_has_forgotten_is_in_the_tags(account: Account) -> None:
    _, params = account.init()
    account.clock.advance(30 * 3_600_000)
    assert account.open().params == params
    account.double.streams["s"].tags.clear()
    with pytest.raises(MismatchError, match="no log"):
        account.open()


def test_tags_hold_the_largest_genesis_within_their_bounds() -> None:
    """At most 50 tags of 256 characters, of the few kinds that every service takes."""
    params = Params(log_id="fe" * 16, partitions=4096, foreign="divert", hold_bytes_max=2**31)
    tags = tags_of(encode_genesis(params), params)
    allowed = set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_./=+-%@")
    assert len(tags) <= 5
    for name, value in tags.items():
        assert set(name + value) <= allowed
        assert len(value) <= 256
    assert genesis_of_tags(tags | {"other": "tag"}, "kinesis://s") == encode_genesis(params)
    assert genesis_of_tags({"other": "tag"}, "kinesis://s") is None


@pytest.mark.parametrize("value", ["", "????", "eJw=", "AAAA"])
def test_damaged_tags_are_not_read_as_none(value: str) -> None:
    with pytest.raises(DamageError, match="genesis"):
        genesis_of_tags({"binlog/genesis-1": value}, "kinesis://s")


def test_tags_that_grow_when_unpacked_are_bounded() -> None:
    import base64
    import zlib

    bomb = base64.b64encode(zlib.compress(bytes(10_000_000), 9)).decode()
    with pytest.raises(DamageError):
        genesis_of_tags({"binlog/genesis-1": bomb}, "kinesis://s")
