"""Builds that are loaded by ImportTable: a build as any other, whatever ends it, whatever is counted."""

from __future__ import annotations

import gzip
import json
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest

from appliers.item import Row
from appliers.stores.dynamodb import DynamoDBStore
from appliers.stores.dynamodb_import import Importer, token_of
from appliers.stores.dynamodb_import_data import Compression
from appliers.stores.dynamodb_tables_spec import Declared, KeySchema, Specification
from binlog.errors import BinlogError, ConflictError, DamageError, RefusedError, StorageError
from binlog.objects.s3 import S3Objects
from binlog.values import encode_item, encode_value
from tests.contracts import build_contract
from tests.contracts.dynamodb_places import store_on
from tests.contracts.store_contract import GENESIS, Claim, checkpoint, content, key, put, row
from tests.objects.s3_double import Bucket, Client
from tests.stores.dynamodb_import_double import ImportDouble
from tests.stores.dynamodb_story import CONTROL, ORDERS, begin

ROWS = {key(f"k{number}"): row(f"k{number}", number + 1) for number in range(50)}
ROWS[key("gone")] = row("gone", 60, gone=True)


def through(
    double: ImportDouble, store: DynamoDBStore, compression: Compression = "zstd"
) -> DynamoDBStore:
    objects = S3Objects("bucket/imports", connect=lambda _: Client(double.bucket))
    store.importer = Importer(objects, compression=compression)
    return store


@pytest.fixture
def double() -> ImportDouble:
    return ImportDouble(Bucket())


def started(double: ImportDouble) -> DynamoDBStore:
    """A store in which something is live."""
    store, generation = begin(double, width=1)
    store.commit(generation, [put("a", 1)], [checkpoint(0, 1)])
    return through(double, store)


def reopened(double: ImportDouble) -> DynamoDBStore:
    store = store_on(double, width=1)
    store.bind(GENESIS)
    return through(double, store)


def rebuilt(store: DynamoDBStore, rows: dict[bytes, Row] | None = None) -> str:
    build = store.build(tables=None, fingerprint="f2", excluded=())
    try:
        build.load("orders", list((ROWS if rows is None else rows).items()))
        build.finish({0: checkpoint(0, 5), 1: checkpoint(1, 5)}, tables=[])
    except BaseException:
        build.abandon()
        raise
    return f"{ORDERS}.{build.generation[:8]}"


@pytest.mark.parametrize("claim", build_contract.CLAIMS, ids=lambda claim: claim.__name__)
def test_a_build_that_is_imported_keeps_the_contract(claim: Claim, double: ImportDouble) -> None:
    claim(lambda: through(double, store_on(double)))
    assert double.imports or not double.asked("import_table")


@pytest.mark.parametrize("compression", ["zstd", "gzip"])
def test_the_service_loads_what_batches_would_have_written(
    compression: Compression, double: ImportDouble
) -> None:
    """Item by item as it is stored, every type of a value among them; and no write units are paid."""
    value: dict[str, Any] = {
        "id": "x\u2028\n\\",
        "bin": b"\0\xff",
        "set": {b"a", b"\xfe"},
        "list": [None, True, {"deep": "ü"}],
    }
    rows = ROWS | {
        encode_value({"id": value["id"]}): Row(99, 1, encode_item(value), parked=True, tail=100)
    }
    plain, other = ImportDouble(Bucket()), started(double)
    store = started(plain)
    store.importer = None
    written = rebuilt(store, rows)
    through(double, other, compression)
    units = other.units.write
    imported = rebuilt(other, rows)

    def by_id(service: ImportDouble, table: str) -> dict[str, Any]:
        return {item["id"]["S"]: item for item in service.items(table)}

    assert by_id(double, imported) == by_id(plain, written)
    assert len(by_id(double, imported)) == len(rows)
    assert content(other) == content(store) == rows
    assert other.units.write - units < 20, "rows of the control table only"
    assert double.tables[imported]["tags"] == {
        name: value for name, value in plain.tables[written]["tags"].items() if name
    }
    assert double.bucket.held == {}, "what was imported is live, its data set is not needed"
    store.close()
    other.close()


@pytest.mark.parametrize(
    ("miscount", "says"),
    [
        (
            {"ImportedItemCount": -1},
            "51 items in the manifest, 51 processed, 50 imported, 0 errors",
        ),
        (
            {"ProcessedItemCount": 1},
            "51 items in the manifest, 52 processed, 51 imported, 0 errors",
        ),
        ({"ErrorCount": 1}, "51 items in the manifest, 51 processed, 51 imported, 1 errors"),
    ],
)
def test_counts_that_are_not_the_manifests_make_nothing_live(
    miscount: dict[str, int], says: str, double: ImportDouble
) -> None:
    store = started(double)
    double.miscount = miscount
    with pytest.raises(DamageError, match=says):
        rebuilt(store)
    assert content(store) == {key("a"): row("a", 1)}
    assert set(double.tables) == {CONTROL, ORDERS}, "the imported table is removed"
    store.close()


def meanwhile(double: ImportDouble, act: Callable[[str], None]) -> None:
    """Let something happen to a data set between its last check and the service's reading it."""
    original = double._import_table

    def call(**request: Any) -> Any:
        act(request["S3BucketSource"]["S3KeyPrefix"])
        return original(**request)

    double._import_table = call  # type: ignore[method-assign]


def test_an_import_that_fails_says_why(double: ImportDouble) -> None:
    """In one line, with the log group that names the items."""
    store = through(double, started(double), "gzip")
    line = gzip.compress(b'{"Item":{"no":{"S":"key"}}}\n')
    meanwhile(double, lambda prefix: double.bucket.held.update({f"{prefix}99": (line, None)}))
    with pytest.raises(RefusedError, match="ItemValidationError: Some of the items") as raised:
        rebuilt(store)
    assert "52 processed, 51 imported, 1 errors" in str(raised.value)
    assert "/aws-dynamodb/imports" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert set(double.tables) == {CONTROL, ORDERS}
    assert content(store) == {key("a"): row("a", 1)}
    store.close()


def test_an_object_that_is_lost_before_the_service_reads_it_is_noticed(
    double: ImportDouble,
) -> None:
    """The service reads what it finds, and says COMPLETED."""
    store = started(double)

    def lose(prefix: str) -> None:
        del double.bucket.held[min(each for each in double.bucket.held if prefix in each)]

    meanwhile(double, lose)
    with pytest.raises(DamageError, match="51 items in the manifest"):
        rebuilt(store)
    assert content(store) == {key("a"): row("a", 1)}
    store.close()


def test_the_services_jobs_are_waited_for(double: ImportDouble) -> None:
    """Fifty at a time, of everybody in the account."""
    store = started(double)
    double.other_jobs = 50
    rebuilt(store)
    assert content(store) == ROWS
    assert len(double.asked("import_table")) == 2
    store.close()


def test_a_table_that_was_not_imported_from_this_data_set_is_not_taken(
    double: ImportDouble,
) -> None:
    store = started(double)
    build = store.build(tables=None, fingerprint="f2", excluded=())
    name = f"{ORDERS}.{build.generation[:8]}"
    double.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    build.load("orders", list(ROWS.items()))
    with pytest.raises(ConflictError, match="was not imported from this data set"):
        build.finish({}, tables=[])
    build.abandon()
    assert name in double.tables, "somebody else's stays"
    store.close()


# -- killed, and run again ---------------------------------------------------------------------------


class Killed(BaseException):
    """The process is no more."""


def killed_at(double: ImportDouble, store: DynamoDBStore, at: int) -> bool:
    """Rebuild until the ``at``th call, whose reply nobody hears; whether it got to its end."""
    original, left = ImportDouble._called, at

    def called(self: ImportDouble, operation: str, request: dict[str, Any]) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed
        reply = original(self, operation, request)
        if not left:
            raise Killed
        return reply

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ImportDouble, "_called", called)
        try:
            rebuilt(store)
        except Killed:
            return False
    return True


def killed_while_it_imports(double: ImportDouble) -> DynamoDBStore:
    """What came after it: another process, an hour later."""
    store = started(double)

    def kill(_: object) -> None:
        raise Killed

    double.after["import_table"] = kill
    build = store.build(tables=None, fingerprint="f2", excluded=())
    build.load("orders", list(ROWS.items()))
    with pytest.raises(Killed):
        build.finish({0: checkpoint(0, 5)}, tables=[])
    double.after.clear()
    store._turns.lease._stop_renewing()
    double.clock.advance(3_600_000)
    return reopened(double)


def test_killed_at_any_call_the_next_rebuild_goes_on_with_what_was_imported() -> None:
    """Each import is paid for, and may take hours: the same rows are never imported twice."""
    taken_over = 0
    for at in range(1, 200):
        double = ImportDouble(Bucket())
        is_over = killed_at(double, started(double), at)
        before = len(double.imports)
        double.clock.advance(3_600_000)  # the lock's lease ends, and so may the import
        store = reopened(double)
        if not is_over:
            assert content(store) in ({key("a"): row("a", 1)}, ROWS)
            live = len(store.generations()) and store.generations()[0].fingerprint == "f2"
            rebuilt(store)
            if before and not live:
                taken_over += 1
                assert len(double.imports) == 1, f"killed at {at}"
        assert content(store) == ROWS
        assert len(double.tables) == 2, f"killed at {at}: {list(double.tables)}"
        assert double.bucket.held == {} or is_over or before
        kinds = {item["pk"]["S"].partition("#")[0] for item in double.items(CONTROL)}
        assert kinds <= {"at", "store"}, f"killed at {at}"
        store.close()
        if is_over:
            break
    assert taken_over > 5


@pytest.mark.parametrize("by_import", [True, False])
def test_what_was_imported_of_other_rows_is_removed(by_import: bool, double: ImportDouble) -> None:
    """Also where the next rebuild imports nothing: a table costs money for ever."""
    store = killed_while_it_imports(double)
    if not by_import:
        store.importer = None
    rows = {key("other"): row("other", 1)}
    physical = rebuilt(store, rows)
    assert content(store) == rows
    assert set(double.tables) == {CONTROL, physical}
    store.close()


def test_what_is_still_being_imported_is_removed_when_it_is_done(double: ImportDouble) -> None:
    """Nobody can stop an import. Until then its table stays noted, and nothing else waits for it."""
    store = started(double)
    double.import_s = 100_000.0
    pauses = iter(range(3))

    def interrupted(seconds: float) -> None:
        next(pauses)  # StopIteration, which is no error of the store's
        double.clock.advance(round(seconds * 1_000))

    store._calls._pause = interrupted
    with pytest.raises(StopIteration):
        rebuilt(store)
    (arn,) = double.imports
    orphan = arn.split("/")[1]
    assert orphan in double.tables
    store.close()
    store = reopened(double)
    store.importer = None
    rebuilt(store)
    assert orphan in double.tables
    double.clock.advance(200_000_000)
    rebuilt(store)
    assert orphan not in double.tables
    assert len(double.tables) == 2
    store.close()


def resumed(double: ImportDouble, store: DynamoDBStore, meanwhile: Callable[[], None]) -> None:
    """Rebuild, and stand still for as long as ``meanwhile`` takes, while the import is awaited."""
    done: list[bool] = []

    def stand_still(_: object) -> None:
        if not done:
            done.append(True)
            store._turns.lease._stop_renewing()
            double.clock.advance(3_600_000)
            meanwhile()

    double.after["describe_import"] = stand_still
    rebuilt(store)


@pytest.mark.parametrize("how_far", ["live", "building"])
def test_who_stood_still_takes_nothing_from_who_took_over(
    how_far: str, double: ImportDouble
) -> None:
    """It wakes when its table is another build's, and is live perhaps: it may not remove it."""
    first = started(double)
    others: list[DynamoDBStore] = []
    builds: list[Any] = []

    def take_over() -> None:
        other = reopened(double)
        others.append(other)
        builds.append(other.build(tables=None, fingerprint="f2", excluded=()))
        builds[0].load("orders", list(ROWS.items()))
        if how_far == "live":
            builds[0].finish({0: checkpoint(0, 5), 1: checkpoint(1, 5)}, tables=[])

    with pytest.raises(BinlogError):
        resumed(double, first, take_over)
    (other,) = others
    if how_far == "building":
        builds[0].finish({0: checkpoint(0, 5), 1: checkpoint(1, 5)}, tables=[])
    assert content(other) == ROWS
    assert len(double.imports) == 1
    assert len(double.tables) == 2
    first.close()
    other.close()


def test_a_live_table_that_an_old_note_names_stays(double: ImportDouble) -> None:
    """Taken over from a build another table of which was still being imported, so its note stayed."""
    store = killed_while_it_imports(double)
    (item,) = [each for each in double.items(CONTROL) if each["pk"]["S"] == "build"]
    noted = json.loads(item["tables"]["S"])
    busy = {"table": "busy", "physical": "shop.busy.1", "source": "bucket/other/data/"}
    double.create_table(
        TableName="shop.busy.1",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    double.put(CONTROL, item | {"tables": {"S": json.dumps([*noted, busy])}})
    rebuilt(store)
    assert content(store) == ROWS
    store.importer = None
    build = store.build(tables=["users"], fingerprint="f3", excluded=())
    build.abandon()
    assert content(store) == ROWS
    assert "shop.busy.1" in double.tables, "nobody knows whose it is"
    store.close()


def test_what_is_being_removed_is_not_taken_over(double: ImportDouble) -> None:
    """Whoever gives a build up says so first: the table may be gone any moment."""
    store = started(double)
    double.miscount = {"ErrorCount": 1}
    double.faults["delete_table"] = deque(["refuse"])
    with pytest.raises(DamageError):
        rebuilt(store)
    double.miscount = {}
    assert len(double.tables) == 3
    store.close()
    again = reopened(double)
    rebuilt(again)
    assert len(double.imports) == 2
    assert content(again) == ROWS
    assert len(double.tables) == 2
    again.close()


def test_a_token_that_was_forgotten_is_no_second_import(double: ImportDouble) -> None:
    """AWS keeps it for eight hours; then the table itself tells from where it was imported."""
    store = killed_while_it_imports(double)
    double.clock.advance(9 * 3_600_000)
    rebuilt(store)
    assert len(double.imports) == 1
    assert len(double.asked("import_table")) == 2
    assert content(store) == ROWS
    store.close()


def test_a_lost_reply_of_the_call_is_asked_for_again(double: ImportDouble) -> None:
    """By the same token, so it is one import."""
    store = started(double)
    double.faults["import_table"] = deque(["lose reply"])
    with pytest.raises(StorageError):
        rebuilt(store)  # the double's client does not repeat calls by itself, as the real one does
    double.faults.clear()
    double.clock.advance(100_000)
    rebuilt(store)
    assert content(store) == ROWS
    store.close()


def test_a_token_is_of_the_rows_and_the_table() -> None:
    assert token_of("b/p/data/", "t.1") == token_of("b/p/data/", "t.1")
    assert (
        len({token_of("b/p/data/", "t.1"), token_of("b/p/data/", "t.2"), token_of("b", "t")}) == 3
    )
    assert "$" not in token_of("a", "b")
    assert len(token_of("a", "b")) <= 36


def test_a_table_that_others_make_is_refused_before_anything_is_written(
    double: ImportDouble,
) -> None:
    """It may have indexes and streams; an import makes a table of its own."""
    specification = Specification(
        "shop", declared={"orders": Declared(keys=KeySchema(("id", "S")), owned=True)}
    )
    store = DynamoDBStore(specification, connect=double.connect, clock=double.clock)
    store.bind(GENESIS)
    through(double, store)
    build = store.build(tables=None, fingerprint="f2", excluded=())
    build.load("orders", list(ROWS.items()))
    with pytest.raises(RefusedError, match="made by others"):
        build.finish({}, tables=[])
    assert double.bucket.held == {}
    assert not double.imports
    build.abandon()
    store.close()
