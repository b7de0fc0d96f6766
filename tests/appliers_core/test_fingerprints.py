"""A generation is continued by the rules that made it, and by no others."""

from __future__ import annotations

import importlib.util
import itertools
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from appliers import fingerprint as module
from appliers.applier import NO_RULES, Appliers, Rules
from appliers.fingerprint import check_fingerprint, compare, fingerprint
from appliers.source import source_hash
from binlog.errors import DamageError, MismatchError, UpgradeError

COUNTER = itertools.count()

SHOP = '''
from appliers.applier import Appliers
shop = Appliers()

def owner(key):
    return "", {"id": key["order"]}

def key_of(event):
    return {"order": event.key["id"]}

@shop.on("Placed", table="orders", version=1, key=key_of)
def place(item, event, key):
    """Place an order."""
    return {**key, "total": event.data["total"]}

@shop.on("Paid", table="orders", version=1)
def pay(item, event):
    return {**item, "paid": True}

@shop.upcaster("Placed", 1, version=1)
def in_cents(data):
    return {"total": data["total"] * 100}

shop.table("orders", owner=owner, version=1)
'''


def load(directory: Path, text: str) -> ModuleType:
    name = f"shop_{next(COUNTER)}"
    path = directory / f"{name}.py"
    path.write_text(text)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def rules(directory: Path, *changes: tuple[str, str]) -> Rules:
    text = SHOP
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    built = load(directory, text).shop.build()
    assert isinstance(built, Rules)
    return built


def test_the_same_rules_have_the_same_text(tmp_path: Path) -> None:
    assert fingerprint(rules(tmp_path)) == fingerprint(rules(tmp_path))
    assert compare(fingerprint(rules(tmp_path)), fingerprint(rules(tmp_path))).compatible


def test_built_in_actions_alone_have_a_fingerprint_too() -> None:
    """Golden: generations hold it; an accidental change would make all of them foreign."""
    assert fingerprint(NO_RULES) == '{"format":1,"actions":1,"canonical":1}'


@pytest.mark.parametrize(
    ("changes", "versions"),
    [
        ([("table=\"orders\", version=1, key", "table=\"orders\", version=2, key")],
         ["the applier of Placed for table orders: version 1 before, version 2 now"] * 2),
        ([('"Placed", 1, version=1', '"Placed", 1, version=3')],
         ["the upcaster of Placed from schema 1: version 1 before, version 3 now"]),
        ([("owner=owner, version=1", "owner=owner, version=2")],
         ["the owner of table orders: version 1 before, version 2 now"]),
        ([('@shop.on("Paid", table="orders"', '@shop.on("Refunded", table="orders"')],
         ["the applier of Paid for table orders: version 1 before, none now",
          "the applier of Refunded for table orders: none before, version 1 now"]),
        ([('@shop.on("Paid", table="orders"', '@shop.on("Paid", table="ledger"')],
         ["the applier of Paid for table ledger: none before, version 1 now",
          "the applier of Paid for table orders: version 1 before, none now"]),
        ([("shop.table(", "0 and shop.table(")],
         ["the owner of table orders: version 1 before, none now"]),
        ([("shop.table(", "shop.upcaster('Paid', 1)(dict)\nshop.table(")],
         ["the upcaster of Paid from schema 1: none before, version 1 now"]),
        ([(", key=key_of", "")], ["the applier of Placed for table orders, its key: none before"]),
    ],
)  # fmt: skip
def test_a_declared_difference_is_another_generation(
    tmp_path: Path, changes: list[tuple[str, str]], versions: list[str]
) -> None:
    """Whatever can change what an item holds: applier, key, table, owner, upcaster."""
    old, new = fingerprint(rules(tmp_path)), fingerprint(rules(tmp_path, *changes))
    found = compare(old, new)
    assert not found.compatible
    if len(changes) == 1 and ", key=key_of" in changes[0]:
        assert len(found.versions) == 1
        assert "Placed for table orders" in found.versions[0]
    else:
        assert sorted(set(found.versions)) == sorted(set(versions))
    with pytest.raises(MismatchError, match="binlog rebuild") as caught:
        check_fingerprint(old, new, where="store x", same_meaning=True)
    assert caught.value.details["versions"] == found.versions


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (
            ('"total": event.data["total"]}', '"total": 0}'),
            "the applier of Placed for table orders",
        ),
        (('{"order": event.key["id"]}', '{"order": event.id}'), "the applier of Placed for table"),
        (("* 100", "* 1000"), "the upcaster of Placed from schema 1"),
        (('key["order"]}', 'key["number"]}'), "the owner of table orders"),
    ],
)
def test_source_that_changed_under_its_version_is_refused_with_two_remedies(
    tmp_path: Path, change: tuple[str, str], what: str
) -> None:
    """Somebody has to say whether it means the same."""
    old, new = fingerprint(rules(tmp_path)), fingerprint(rules(tmp_path, change))
    found = compare(old, new)
    assert found.versions == ()
    [line] = found.sources
    assert line.startswith(what)
    with pytest.raises(MismatchError, match="a new version and rebuild, or pass --same-meaning"):
        check_fingerprint(old, new, where="store x")
    check_fingerprint(old, new, where="store x", same_meaning=True)


@pytest.mark.parametrize(
    "change",
    [
        ('"""Place an order."""', '"""Place an order, or not."""'),
        ('"""Place an order."""', "# no docstring\n"),
        ('return {**key, "total"', 'return {  # everything\n        **key, "total"'),
        ('    return {**item, "paid": True}', '\n    return {**item,\n            "paid" : True}'),
        ("def owner(key):\n    return", "def owner(key):\n        return"),
        ('@shop.on("Paid"', 'import functools\n\n\n@shop.on("Paid"'),
    ],
)
def test_source_that_only_looks_different_is_the_same(
    tmp_path: Path, change: tuple[str, str]
) -> None:
    """Comments, layout, docstrings and what stands elsewhere in the file do not count."""
    assert fingerprint(rules(tmp_path)) == fingerprint(rules(tmp_path, change))


def test_what_the_generation_never_met_does_not_count(tmp_path: Path) -> None:
    """A new event type with its applier is no new generation, unless its events were there."""
    refunds = """
shop.upcaster('Refunded', 1)(dict)
@shop.on('Refunded', table='refunds', owner=owner)
def refund(item, event): return event.key
shop.table("""
    more = ("shop.table(", refunds)
    old, new = fingerprint(rules(tmp_path)), fingerprint(rules(tmp_path, more))
    check_fingerprint(old, new, where="x", met={"Placed", "Paid"}, tables={"orders"})
    check_fingerprint(new, old, where="x", met={"Placed", "Paid"}, tables={"orders"})
    assert compare(old, new, met={"Placed", "Refunded"}, tables={"orders"}).versions == (
        "the applier of Refunded for table refunds: none before, version 1 now",
        "the upcaster of Refunded from schema 1: none before, version 1 now",
    )
    assert compare(old, new, met=set(), tables={"refunds"}).versions == (
        "the owner of table refunds: none before, version 1 now",
    )


def test_a_change_of_what_was_met_counts_although_other_things_were_not(tmp_path: Path) -> None:
    old = fingerprint(rules(tmp_path))
    new = fingerprint(rules(tmp_path, ("* 100", "* 1000")))
    assert not compare(old, new, met={"Placed"}, tables={"orders"}).compatible
    assert compare(old, new, met={"Paid"}, tables={"orders"}).compatible


@pytest.mark.parametrize("constant", ["ACTIONS_VERSION", "CANONICAL_VERSION"])
def test_other_actions_or_another_canonical_form_are_another_generation(
    monkeypatch: pytest.MonkeyPatch, constant: str
) -> None:
    old = fingerprint(NO_RULES)
    monkeypatch.setattr(module, constant, 2)
    with pytest.raises(MismatchError, match="version 1 before, 2 now"):
        check_fingerprint(old, fingerprint(NO_RULES), where="x", met=set(), tables=set())


@pytest.mark.parametrize("text", ["", "no", "[]", '{"appliers": 1}'])
def test_what_is_no_fingerprint_is_damage(text: str) -> None:
    with pytest.raises(DamageError, match="no fingerprint"):
        compare(text, fingerprint(NO_RULES))


def test_a_newer_format_is_not_guessed_at() -> None:
    with pytest.raises(UpgradeError, match="format 3"):
        compare('{"format": 3}', fingerprint(NO_RULES))


# -- the hash of a source ------------------------------------------------------------------------


def test_the_hash_does_not_depend_on_the_python_that_makes_it(tmp_path: Path) -> None:
    """Golden: an upgrade of Python must not make every table foreign."""
    loaded = load(
        tmp_path,
        "def f(item, event):\n"
        '    """Doc."""\n'
        "    # why\n"
        "    name = f\"{item['id']!r:>{10}} {'x' if event else f'{1}'}\"\n"
        "    return {**item, 'n': name, 'l': [1, 2.5e3, 'a' 'b', b'\\x00']}\n",
    )
    assert source_hash(loaded.f) == "78504f4e464aecadd3c62bf272fea9be"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("f = lambda i, e: i", "f = (\n    lambda i, e: i  # yes\n)", True),
        ("f = lambda i, e: i", "f = lambda i, e: e", False),
        ("f = lambda i, e: {\n  'a': 1,\n  'b': 2}", "f = lambda i, e: {'a': 1, 'b': 2}", True),
        ("f = lambda i, e: {\n  'a': 1,\n  'b': 2}", "f = lambda i, e: {'a': 1, 'b': 3}", False),
        ("g, f = lambda: 1, lambda: 2", "g, f = lambda: 1, lambda: 3", False),
        ("def f(i): return f'{i}'", "def f(i): return f'{i} '", False),
        ("def f(i): return 'a'", "def f(i): return 'b'", False),
        ("def f(i, n=1): return i", "def f(i, n=2): return i", False),
        ("class C:\n  def f(self): return 1\nf = C().f", "class C:\n    def f(self): return 1\nf = C().f", True),
        ("class C:\n  def f(self): return 1\nf = C().f", "class C:\n  def f(self): return 2\nf = C().f", False),
        ("class C:\n  def __call__(self): return 1\nf = C()", "class C:\n  def __call__(self): return 2\nf = C()", False),
        ("def f(i):\n  if i:\n    return 1\n  return 2", "def f(i):\n  if i:\n    return 1\n    return 2", False),
        ("def d(f): return f\n@d\ndef f(i): return 1", "def f(i): return 1", True),
        ("def f(i):\n  'doc'\n  return 'doc'", "def f(i):\n  return 'doc'", True),
        ("def f(i):\n  'doc'\n  return 'doc'", "def f(i):\n  return 'cod'", False),
        ("def f(d='x'):\n  'x'\n  return d", "def f(d='y'):\n  'x'\n  return d", False),
    ],
)  # fmt: skip
def test_the_hash_changes_with_the_code_and_only_then(
    tmp_path: Path, one: str, other: str, same: bool
) -> None:
    hashes = {source_hash(load(tmp_path, text + "\n").f) for text in (one, other)}
    assert "" not in hashes
    assert (len(hashes) == 1) is same


def test_a_function_is_parsed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A consumer without memory asks at each turn; and what runs is what was read first."""
    function = load(tmp_path, "def f(x):\n    return x\n").f
    first = source_hash(function)
    monkeypatch.setattr("ast.parse", None)
    assert source_hash(function) == first != ""


def test_a_function_without_source_is_compared_by_version_alone() -> None:
    """Typed at a prompt, or written in C: there is nothing to hash."""
    space: dict[str, Any] = {}
    exec("def f(item, event): return item", space)
    assert source_hash(space["f"]) == source_hash(len) == ""
    with_source, without = Appliers(), Appliers()
    with_source.on("E", table="things")(_applier)
    without.on("E", table="things")(space["f"])
    check_fingerprint(fingerprint(with_source.build()), fingerprint(without.build()), where="x")


def _applier(item: Any, _: Any) -> Any:
    return item
