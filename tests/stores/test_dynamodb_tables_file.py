"""The file that declares tables, and what is derived where it says nothing."""

from __future__ import annotations

import re
import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliers.stores.dynamodb_tables import KeySchema, Specification, Units
from appliers.stores.dynamodb_tables_spec import CONTROL_KEYS, Declared, toml
from binlog.errors import RefusedError

GENERATION = "1a2b3c4d" * 4
FILE = """
[defaults]
billing = { read = 5, write = 10 }
pitr = 7
deletion_protection = true
kms = "alias/shop"
tags = { team = "shop", cost = "1" }

[control]
physical = "shop-state"
deletion_protection = false

[tables.orders]
hash = ["customer", "S"]
range = ["number", "N"]
billing = "on-demand"
pitr = false
tags = { cost = "2" }

[tables."the.users"]
like = "Users-2023"

[tables.stock]
physical = "Stock-1QX2"
owned = true
hash = ["id", "B"]
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tables.toml"


def load(path: Path, text: str, prefix: str = "shop") -> Specification:
    path.write_text(text, encoding="utf-8")
    return Specification.load(str(path), prefix)


def test_reads_what_the_documentation_shows(path: Path) -> None:
    """Options of a table replace those of `defaults`; tags are joined; owned has no options."""
    made = load(path, FILE).bound("ab")
    orders = made.of("orders", {"number": 1, "customer": "c"}, generation=None)
    assert orders.physical == "shop.orders"
    assert orders.keys == KeySchema(("customer", "S"), ("number", "N"))
    assert (orders.billing, orders.pitr, orders.kms) == ("on-demand", False, "alias/shop")
    assert orders.tags == {
        "team": "shop",
        "cost": "2",
        "binlog/log-id": "ab",
        "binlog/store": "shop",
        "binlog/table": "orders",
    }
    stock = made.of("stock", {"id": b"1"}, generation=None)
    assert (stock.physical, stock.owned, stock.pitr, stock.kms) == ("Stock-1QX2", True, None, None)
    control = made.control()
    assert (control.physical, control.keys) == ("shop-state", CONTROL_KEYS)
    assert (control.pitr, control.deletion_protection) == (7, False)
    assert control.tags["binlog/store"] == "shop"
    assert "binlog/table" not in control.tags
    other = made.of("others", {"id": 1}, generation=GENERATION)
    assert (other.physical, other.keys) == ("shop.others.1a2b3c4d", KeySchema(("id", "N")))
    assert (other.billing, other.pitr) == (Units(5, 10), 7)
    assert made.declared["the.users"].like == "Users-2023"


def test_the_example_of_the_module_is_a_file(path: Path) -> None:
    """What people copy must be taken."""
    import appliers.stores.dynamodb_tables_file as module

    assert module.__doc__ is not None
    lines = module.__doc__.split("::\n", 1)[1].splitlines()
    text = "\n".join(line[4:] for line in lines if line.startswith("    "))
    assert load(path, text).declared.keys() == {"orders", "users", "stock"}


@pytest.mark.parametrize(
    ("value", "kind"),
    [("a", "S"), (1, "N"), (Decimal("0.1"), "N"), (b"", "B"), (bytearray(b"1"), "B")],
)
def test_derives_the_key_of_one_attribute(value: object, kind: str) -> None:
    made = Specification.load(None, "shop")
    assert made.of("users", {"id": value}, generation=None).keys == KeySchema(("id", kind))  # type: ignore[arg-type]


@pytest.mark.parametrize("key", [{}, {"id": True}, {"id": None}, {"a": 1, "b": 2, "c": 3}])
def test_refuses_what_cannot_be_a_key(key: dict[str, Any]) -> None:
    with pytest.raises(RefusedError, match=r"neither text|DynamoDB takes one or two"):
        Specification("shop").of("users", key, generation=None)


NAMES = st.text(
    st.characters(exclude_categories=["Cs"]) | st.sampled_from('"\\\n\x7f\x00 .é'), min_size=1
).filter(lambda name: len(name.encode()) <= 255 and name != "_binlog")
TABLES = st.from_regex(r"[A-Za-z0-9_.-]{3,20}", fullmatch=True).filter(lambda t: t != "binlog")


@given(table=TABLES, names=st.lists(NAMES, min_size=2, max_size=2, unique=True), more=st.booleans())
def test_the_declaration_that_it_asks_for_can_be_pasted(
    tmp_path_factory: pytest.TempPathFactory, table: str, names: list[str], more: bool
) -> None:
    """On one line, at the top of a file that declares others, whatever the names hold."""
    path = tmp_path_factory.mktemp("pasted") / "tables.toml"
    rest = '[defaults]\npitr = true\n\n[tables."another one"]\nhash = ["id", "S"]\n' * more
    rest = rest.replace("another one", "another.one")
    key = {names[0]: "a", names[1]: 1}
    with pytest.raises(RefusedError) as caught:
        load(path, rest).of(table, key, generation=None)
    assert "\n" not in str(caught.value)
    line = caught.value.do.partition(": ")[2]
    assert line.startswith("tables.")
    made = load(path, f"{line}\n{rest}").of(table, key, generation=None)
    assert made.keys == KeySchema((names[0], "S"), (names[1], "N"))


def test_it_says_which_way_round_is_open_and_where_to_write_it() -> None:
    with pytest.raises(RefusedError) as caught:
        Specification("shop").of("orders", {"a": "x", "b": 1}, generation=None)
    assert "'a' and 'b', and nothing says which is the hash key" in str(caught.value)
    assert str(caught.value).endswith(
        'tables.orders = { hash = ["a", "S"], range = ["b", "N"] }; '
        "then add ?tables=FILE to the store's address"
    )


@pytest.mark.parametrize(
    ("text", "key", "says"),
    [
        ("x = 1", "x", "no such key"),
        ("table = {}", "table", "is it tables"),
        ("tables = 3", "tables", "expected table"),
        ("[tables]\norders = 3", "tables.orders", "expected table, got int"),
        ("[tables.orders]\nhsh = 1", "tables.orders.hsh", "is it hash"),
        ('[tables."a.b"]\nx = 1', 'tables."a.b".x', "no such key"),
        ("[tables.orders]\nhash = 'a'", "tables.orders.hash", "expected a list, got text"),
        ("[tables.orders]\nhash = ['a']", "tables.orders.hash", "of length 2"),
        ("[tables.orders]\nhash = ['a', 'X']", "tables.orders.hash[1]", "'X'"),
        ("[tables.orders]\nhash = [1, 'S']", "tables.orders.hash[0]", "expected text"),
        ("[tables.orders]\nhash = ['', 'S']", "tables.orders.hash", "0 bytes"),
        (f"[tables.orders]\nhash = ['{'é' * 128}', 'S']", "tables.orders.hash", "256 bytes"),
        ("[tables.orders]\nhash = ['_binlog', 'S']", "tables.orders.hash", "reserved"),
        ("[tables.orders]\nrange = ['a', 'S']", "tables.orders.range", "no hash"),
        (
            "[tables.orders]\nhash = ['a', 'S']\nrange = ['a', 'N']",
            "tables.orders.range",
            "hash key already",
        ),
        ("[tables.orders]\nlike = 'Old'\nhash = ['a', 'S']", "tables.orders.like", "hash"),
        ("[tables.orders]\nlike = 'Old'\nowned = true", "tables.orders.like", "itself"),
        ("[tables.orders]\nlike = 'no name'", "tables.orders.like", "no table's name"),
        ("[tables.orders]\nphysical = 'ab'", "tables.orders.physical", "no table's name"),
        ("[tables.orders]\nowned = 'yes'", "tables.orders.owned", "expected bool"),
        ("[tables.orders]\nowned = true\npitr = true", "tables.orders.pitr", "owned by others"),
        ("[tables.orders]\nowned = true\ntags = {a = 'b'}", "tables.orders.tags", "owned by"),
        ("[tables.ab]", "tables.ab", "no table's name"),
        ("[tables.binlog]", "", "the store's own table"),
        ("[tables.binlogs]\nphysical = 'shop.binlog'", "tables.binlogs.physical", "control's"),
        (
            "[tables.aaa]\n[tables.bbb]\nphysical = 'shop.aaa'",
            "tables.bbb.physical",
            "tables.aaa's",
        ),
        ("[defaults]\npitr = 0", "defaults.pitr", "days from 1 to 35"),
        ("[defaults]\npitr = 36", "defaults.pitr", "days from 1 to 35"),
        ("[defaults]\npitr = 'on'", "defaults.pitr", "days from 1 to 35"),
        ("[defaults]\nbilling = 'free'", "defaults.billing", "on-demand"),
        ("[defaults]\nbilling = {read = 1}", "defaults.billing", "write"),
        ("[defaults]\nbilling = {read = 1, write = 0}", "defaults.billing.write", ">= 1"),
        ("[defaults]\nbilling = {read = 1, wrte = 1}", "defaults.billing.wrte", "is it write"),
        ("[defaults]\nkms = ''", "defaults.kms", "length >= 1"),
        ("[defaults]\nhash = ['a', 'S']", "defaults.hash", "no such key"),
        ("[defaults]\ntags = {'aws:x' = 'a'}", 'defaults.tags."aws:x"', "reserved"),
        ("[defaults]\ntags = {'binlog/store' = 'a'}", 'defaults.tags."binlog/store"', "reserved"),
        ("[defaults]\ntags = {a = '<b>'}", "defaults.tags.a", "no tag of DynamoDB's"),
        ("[control]\nhash = ['a', 'S']", "control.hash", "no such key"),
        ("[tables.orders]\n[tables.orders]", "", "no TOML"),
    ],
)
def test_every_mistake_is_one_line_with_file_and_key(
    path: Path, text: str, key: str, says: str
) -> None:
    """Who wrote it must find it without reading our code."""
    with pytest.raises(RefusedError) as caught:
        load(path, text)
    said = str(caught.value)
    assert "\n" not in said
    assert f"{path}: {key}: " in said if key else str(path) in said
    assert says in said


def test_a_file_that_cannot_be_read_is_named(path: Path) -> None:
    with pytest.raises(RefusedError, match=re.escape(str(path))):
        Specification.load(str(path), "shop")
    path.write_bytes(b"\xff")
    with pytest.raises(RefusedError, match="UTF-8"):
        Specification.load(str(path), "shop")


@pytest.mark.parametrize("prefix", ["", "a b", "a" * 250, "a/b"])
def test_refuses_a_prefix_that_no_name_can_begin_with(prefix: str) -> None:
    with pytest.raises(RefusedError, match="cannot begin"):
        Specification.load(None, prefix)


def test_refuses_names_that_dynamodb_would_not_take() -> None:
    """Also the one that only a rebuild makes: better now than when it is needed."""
    made = Specification("s" * 240)
    assert len(made.of("t" * 5, {"id": 1}, generation=GENERATION).physical) == 255
    with pytest.raises(RefusedError, match="256 characters"):
        made.of("t" * 6, {"id": 1}, generation=None)
    owned = Specification("s", declared={"tables": Declared(physical="t" * 255, owned=True)})
    assert len(owned.name_of("tables", generation=None)) == 255
    with pytest.raises(RefusedError, match="the store's own table"):
        Specification("shop").of("binlog", {"id": 1}, generation=None)


def test_a_rebuild_makes_no_owned_table(path: Path) -> None:
    made = load(path, FILE)
    with pytest.raises(RefusedError, match=r"cannot replace it.*tables\.stock"):
        made.of("stock", {"id": b"1"}, generation=GENERATION)


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ({"customer": "c"}, "the key has 'customer', the table 'customer' and 'number'"),
        ({"customer": "c", "number": "1"}, "'number' is not a number (N)"),
        ({"customer": b"c", "number": 1}, "'customer' is not text (S)"),
        ({}, "the key has no attributes"),
    ],
)
def test_refuses_a_key_that_does_not_fit_its_declaration(
    path: Path, key: dict[str, Any], says: str
) -> None:
    with pytest.raises(RefusedError, match=re.escape(says)):
        load(path, FILE).of("orders", key, generation=None)


def test_the_declaration_of_a_name_is_toml() -> None:
    parsed = tomllib.loads(toml("a.b", physical="x", owned=True))
    assert parsed == {"tables": {"a.b": {"physical": "x", "owned": True}}}
