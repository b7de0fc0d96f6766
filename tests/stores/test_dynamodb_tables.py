"""Tables are made once, in time, as declared; and nothing of anybody else's is touched."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import pytest

from appliers.stores.dynamodb_tables import (
    READY_S,
    KeySchema,
    Specification,
    TableSpec,
    Units,
    ensure,
    remove,
    resolve,
)
from appliers.stores.dynamodb_tables_spec import Declared
from binlog.clock import ManualClock
from binlog.errors import BinlogError, MismatchError, RefusedError, StorageError
from tests.stores.dynamodb_tables_double import Double

LOG = "ab" * 16
WHERE = "dynamodb://shop"
KEYS = KeySchema(("customer", "S"), ("number", "N"))


class World:
    """The double, and a clock that goes on where the code waits."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.client = Double(self.clock)

    def pause(self, seconds: float) -> None:
        self.clock.advance(max(1, round(seconds * 1000)))

    def ensure(self, spec: TableSpec) -> bool:
        return ensure(self.client, spec, WHERE, clock=self.clock, pause=self.pause)

    def remove(self, spec: TableSpec, *, wait: bool = True) -> None:
        remove(self.client, spec, WHERE, wait=wait, clock=self.clock, pause=self.pause)


@pytest.fixture
def world() -> World:
    return World()


def spec(log: str = LOG, prefix: str = "shop", **fields: Any) -> TableSpec:
    made = Specification(prefix, declared={"orders": Declared(keys=KEYS, **fields)})
    return made.bound(log).of("orders", {"customer": "c", "number": 1}, generation=None)


@pytest.mark.parametrize("owned", [True, False])
def test_a_derived_name_that_another_table_has_by_declaration_is_refused(*, owned: bool) -> None:
    """The items of both would be written to it."""
    declared = Declared(keys=KEYS, physical="shop.users", owned=owned)
    made = Specification("shop", declared={"orders": declared}, path="tables.toml")
    with pytest.raises(RefusedError, match=r"'users' .* shop\.users, .*'orders'.*tables\.orders"):
        made.of("users", {"id": "a"}, generation=None)
    assert made.of("users", {"id": "a"}, generation="1" * 32).physical == "shop.users.11111111"
    key = {"customer": "c", "number": 1}
    assert made.of("orders", key, generation=None).physical == "shop.users"


def test_makes_a_table_once_and_waits_until_it_can_be_used(world: World) -> None:
    """On demand, with the tags that make it ours, in one call."""
    assert world.ensure(spec())
    begun = world.clock.monotonic()
    assert not world.ensure(spec())
    assert world.clock.monotonic() == begun
    [request] = world.client.asked("create_table")
    assert request == {
        "TableName": "shop.orders",
        "AttributeDefinitions": [
            {"AttributeName": "customer", "AttributeType": "S"},
            {"AttributeName": "number", "AttributeType": "N"},
        ],
        "KeySchema": [
            {"AttributeName": "customer", "KeyType": "HASH"},
            {"AttributeName": "number", "KeyType": "RANGE"},
        ],
        "BillingMode": "PAY_PER_REQUEST",
        "Tags": [
            {"Key": "binlog/log-id", "Value": LOG},
            {"Key": "binlog/store", "Value": "shop"},
            {"Key": "binlog/table", "Value": "orders"},
        ],
    }
    assert world.client.changes == ["create_table"]


@pytest.mark.parametrize("moment", ["create_table", "describe_time_to_live"])
def test_two_processes_make_one_table(world: World, moment: str) -> None:
    """Whoever comes second, at whatever moment, uses what the first has made."""
    made = []
    world.client.before[moment] = lambda: made.append(world.ensure(spec()))
    made.append(world.ensure(spec()))
    assert sorted(made) == [False, True]


def test_waits_for_a_table_and_tags_that_are_not_shown_yet(world: World) -> None:
    """Replies about what was just made may be of the moment before."""
    world.client.shown_s, world.client.tags_shown_s = 3, 9 + 8
    assert world.ensure(spec())
    assert not world.ensure(spec())
    assert world.client.changes == ["create_table"]


def test_gives_up_in_time(world: World) -> None:
    """A table that is never ready holds nobody up for longer than is said."""
    world.client.change_s = READY_S + 10
    begun = world.clock.monotonic()
    with pytest.raises(StorageError, match=r"not active after 300 s: .*shop\.orders"):
        world.ensure(spec())
    assert world.clock.monotonic() - begun == pytest.approx(READY_S)


@pytest.mark.parametrize("code", ["LimitExceededException", "ResourceInUseException"])
def test_tries_again_where_the_service_has_too_much_to_do(world: World, code: str) -> None:
    world.client.next_errors["create_table"] = deque([code, code])
    assert world.ensure(spec())
    assert len(world.client.asked("create_table")) == 3


def test_an_error_of_the_service_names_the_table(world: World) -> None:
    world.client.next_errors["create_table"] = deque(["AccessDeniedException"])
    with pytest.raises(RefusedError, match=r"not permitted.*table shop\.orders"):
        world.ensure(spec())


@pytest.mark.parametrize(
    ("has", "says"),
    [
        (KeySchema(("customer", "S")), "range key none instead of 'number' N"),
        (KeySchema(("customer", "S"), ("number", "S")), "'number' S instead of 'number' N"),
        (KeySchema(("client", "S"), ("number", "N")), "hash key 'client' S instead of 'customer'"),
        (KeySchema(("number", "N"), ("customer", "S")), r"the other way round"),
        (
            KeySchema(("client", "B")),
            "hash key 'client' B instead of 'customer' S and range key none instead of 'number' N",
        ),
    ],
)
def test_names_every_difference_of_a_key_schema(world: World, has: KeySchema, says: str) -> None:
    """A wrong key cannot be mended later: who sees it must see all of it at once."""
    world.ensure(TableSpec("orders", "shop.orders", has, tags=spec().tags))
    with pytest.raises(RefusedError, match=says):
        world.ensure(spec())


@pytest.mark.parametrize("status", ["ENABLED", "ENABLING", "DISABLING"])
@pytest.mark.parametrize("owned", [False, True])
def test_refuses_a_table_with_a_ttl(world: World, status: str, owned: bool) -> None:
    """Also while it is being turned off: items vanish until it is."""
    world.ensure(spec())
    world.client.tables["shop.orders"]["ttl"] = status
    with pytest.raises(RefusedError, match=f"TTL \\('expires', {status}\\)"):
        world.ensure(spec(owned=owned))


@pytest.mark.parametrize("owned", [False, True])
def test_refuses_a_table_that_is_being_deleted(world: World, owned: bool) -> None:
    """It answers reads and writes for a while, and takes them with it."""
    world.ensure(spec())
    world.remove(spec(), wait=False)
    with pytest.raises(RefusedError, match="is being deleted"):
        world.ensure(spec(owned=owned))
    assert world.client.changes == ["create_table", "delete_table"]


@pytest.mark.parametrize("status", ["INACCESSIBLE_ENCRYPTION_CREDENTIALS", "ARCHIVED"])
def test_refuses_a_table_that_cannot_be_used(world: World, status: str) -> None:
    world.ensure(spec())
    world.client.tables["shop.orders"]["fixed"] = status
    with pytest.raises(RefusedError, match=r"KMS key|ARCHIVED"):
        world.ensure(spec())


def by_hand(world: World, tags: Mapping[str, str]) -> None:
    world.ensure(spec())
    world.client.tables["shop.orders"]["tags"] = dict(tags)
    world.client.calls.clear()


FOREIGN = [
    ({}, RefusedError, "not made here"),
    ({"team": "other"}, RefusedError, "not made here"),
    (dict(spec(log="cd" * 16).tags), MismatchError, "another log's"),
    (dict(spec(prefix="shop2").tags), MismatchError, "another store's"),
    ({**spec().tags, "binlog/table": "order"}, MismatchError, "another table's"),
]


@pytest.mark.parametrize(("tags", "error", "says"), FOREIGN)
def test_touches_no_table_that_is_not_ours(
    world: World, tags: dict[str, str], error: type[BinlogError], says: str
) -> None:
    """Neither by making it nor by removing it: a prefix may be taken by mistake."""
    by_hand(world, tags)
    with pytest.raises(error, match=says):
        world.ensure(spec(pitr=True))
    with pytest.raises(error, match=says):
        world.remove(spec())
    assert world.client.changes == []


def test_an_owned_table_is_compared_and_never_changed(world: World) -> None:
    """What CloudFormation has made is CloudFormation's."""
    with pytest.raises(RefusedError, match="which others are to make"):
        world.ensure(spec(owned=True))
    by_hand(world, {})
    assert not world.ensure(spec(owned=True))
    world.remove(spec(owned=True))
    assert world.client.changes == []
    with pytest.raises(RefusedError, match="range key"):
        world.ensure(TableSpec("orders", "shop.orders", KeySchema(("customer", "S")), owned=True))


def test_options_are_part_of_making_a_table(world: World) -> None:
    """Recovery cannot be, and its service may not be ready when the table is."""
    world.client.backups_after_s = 30
    wanted = spec(
        billing=Units(5, 10), pitr=7, deletion_protection=True, kms="alias/shop", tags={"a": "b"}
    )
    world.ensure(wanted)
    [request] = world.client.asked("create_table")
    assert request["BillingMode"] == "PROVISIONED"
    assert request["ProvisionedThroughput"] == {"ReadCapacityUnits": 5, "WriteCapacityUnits": 10}
    assert request["DeletionProtectionEnabled"] is True
    assert request["SSESpecification"]["KMSMasterKeyId"] == "alias/shop"
    assert {"Key": "a", "Value": "b"} in request["Tags"]
    assert world.client.tables["shop.orders"]["pitr"] == (True, 7)
    world.client.calls.clear()
    world.ensure(wanted)
    assert world.client.changes == []


def test_options_are_brought_to_a_table_that_is_there(world: World) -> None:
    """Those that were asked for, one change at a time; afterwards there is nothing to do."""
    world.ensure(spec())
    wanted = spec(
        billing=Units(5, 10), pitr=True, deletion_protection=True, kms="1-2", tags={"a": "b"}
    )
    world.ensure(wanted)
    table = world.client.tables["shop.orders"]
    assert table["given"]["BillingMode"] == "PROVISIONED"
    assert table["given"]["DeletionProtectionEnabled"] is True
    assert table["tags"]["a"] == "b"
    assert table["pitr"] == (True, 35)
    world.client.calls.clear()
    for same in (wanted, spec(), spec(billing=Units(50, 50)), spec(kms="alias/x", pitr=True)):
        world.ensure(same)
    assert world.client.changes == []
    world.ensure(spec(deletion_protection=False, pitr=False, billing="on-demand"))
    assert (table["given"]["DeletionProtectionEnabled"], table["given"]["BillingMode"]) == (
        False,
        "PAY_PER_REQUEST",
    )
    assert table["pitr"] == (False, None)


def test_waits_for_a_change_that_others_make(world: World) -> None:
    world.ensure(spec())
    world.client.update_table(TableName="shop.orders", StreamSpecification={})
    world.ensure(spec(deletion_protection=True))
    assert world.client.tables["shop.orders"]["given"]["DeletionProtectionEnabled"] is True


def test_removes_a_protected_table_and_waits_until_it_is_gone(world: World) -> None:
    """Repeats, and a table that was never there, are no mistake."""
    world.ensure(spec(deletion_protection=True))
    world.remove(spec())
    assert not world.client.tables
    world.remove(spec())
    world.ensure(spec())
    world.client.update_table(TableName="shop.orders", StreamSpecification={})  # in use for a while
    world.remove(spec(), wait=False)
    world.remove(spec(), wait=False)
    assert world.client.changes[-1] == "delete_table"
    world.remove(spec())
    assert not world.client.tables


def test_a_table_without_a_log_is_a_mistake_of_the_caller(world: World) -> None:
    with pytest.raises(ValueError, match="no log id"):
        world.ensure(TableSpec("orders", "shop.orders", KEYS))


def test_looks_up_the_keys_of_like_and_owned_tables(world: World) -> None:
    """One call each, none where the file says it."""
    world.ensure(spec())
    declared = {
        "likes": Declared(like="shop.orders"),
        "owned": Declared(physical="shop.orders", owned=True),
        "given": Declared(keys=KeySchema(("id", "B"))),
    }
    world.client.calls.clear()
    made = resolve(world.client, Specification("other", declared=declared).bound(LOG), WHERE)
    assert len(world.client.calls) == 2
    key = {"customer": "c", "number": 1}
    assert made.of("likes", key, generation=None).keys == KEYS
    assert made.of("likes", key, generation=None).physical == "other.likes"
    assert made.of("owned", key, generation=None).keys == KEYS
    absent = Specification("other", path="t.toml", declared={"users": Declared(like="Users")})
    with pytest.raises(RefusedError, match=r"no table Users: .*t\.toml: tables\.users"):
        resolve(world.client, absent, WHERE)
    with pytest.raises(ValueError, match="looked up"):
        absent.of("users", {"id": 1}, generation=None)


def test_an_undeclared_table_asks_the_service_nothing() -> None:
    assert resolve(None, Specification("shop"), WHERE) == Specification("shop")
