"""`binlog schema lock` and `check`, as somebody uses them who changes an event type."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.running import ROOT, Ran, binlog

SHOP = """
from typing import Annotated

import msgspec

from appliers.applier import Appliers


class Placed(msgspec.Struct):
    total: Annotated[int, msgspec.Meta(ge=0)]
    note: str = ""


shop = Appliers()


@shop.on(Placed, table="orders")
def placed(item, event):
    return {**event.key, "total": event.data["total"]}
"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Write the module `shop` with edits, (old, new) each, as a checkout would have it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(*edits: tuple[str, str]) -> None:
        text = SHOP
        for old, new in edits:
            assert old in text, old
            text = text.replace(old, new)
        Path("shop.py").write_text(text)

    write()
    yield write
    sys.modules.pop("shop", None)


def run(*args: str) -> Ran:
    """Run the command in a process of its own, since a module is imported once."""
    done = subprocess.run(
        [sys.executable, "-m", "binlog.cli", "schema", *args],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(ROOT), "PATH": "", "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert "Traceback" not in done.stderr, done.stderr
    return Ran(done.returncode, done.stdout, done.stderr)


AS_TEXT = ("total: Annotated[int, msgspec.Meta(ge=0)]", "total: str")


def test_locks_and_then_all_is_as_locked(shop: Callable[..., None]) -> None:
    first = run("lock", "shop:shop")
    assert first.status == 0
    assert first.out.splitlines() == [
        "Placed is a new type",
        "schema.lock.json: written; commit it beside the code",
    ]
    written = Path("schema.lock.json").read_text()
    assert run("lock", "shop:shop").out == "schema.lock.json is up to date\n"
    assert Path("schema.lock.json").read_text() == written
    assert run("check", "shop:shop", "--complete") == Ran(
        0, "ok: 1 type and 6 golden events are as locked\n", ""
    )


def test_a_dry_run_writes_nothing(shop: Callable[..., None]) -> None:
    ran = run("lock", "shop:shop", "sub.json", "--dry-run")
    assert (ran.status, ran.out.splitlines()[-1]) == (0, "nothing written (dry run)")
    assert not Path("sub.json").exists()


def test_an_incompatible_change_is_status_1_with_a_line_each_and_writes_nothing(
    shop: Callable[..., None],
) -> None:
    run("lock", "shop:shop")
    before = Path("schema.lock.json").read_bytes()
    shop(AS_TEXT, ('    note: str = ""\n', ""))
    ran = run("check", "shop:shop")
    assert ran.status == 1
    assert [line.split(": ")[:2] for line in ran.out.splitlines()] == [
        ["Placed, schema 1, field note", "field removed"],
        ["Placed, schema 1, field total", "type changed"],
    ]
    assert '@shop.upcaster("Placed", from_version=1, data=PlacedV1)' in ran.out
    locking = run("lock", "shop:shop")
    assert (locking.status, locking.out) == (1, ran.out)
    assert Path("schema.lock.json").read_bytes() == before


def test_json_is_one_document(shop: Callable[..., None]) -> None:
    run("lock", "shop:shop")
    shop(AS_TEXT)
    ran = run("check", "shop:shop", "--json")
    [document] = ran.lines
    assert (ran.status, document["ok"], document["behind"]) == (1, False, [])
    [finding] = document["findings"]
    assert (finding["type"], finding["schema"], finding["field"]) == ("Placed", 1, "total")
    assert (finding["before"], finding["after"]) == ("int from 0", "text")
    assert "upcaster" in finding["do"]


def test_what_is_not_locked_yet_is_noted_and_with_complete_a_finding(
    shop: Callable[..., None],
) -> None:
    run("lock", "shop:shop")
    shop(('    note: str = ""\n', '    note: str = ""\n    gift: bool = False\n'))
    ran = run("check", "shop:shop")
    assert ran.status == 0
    assert ran.err.startswith("note: Placed, schema 1, field gift: field added: bool")
    assert run("check", "shop:shop", "--complete").status == 1
    assert run("lock", "shop:shop").out.splitlines()[-1] == (
        "schema.lock.json: extended; commit it beside the code"
    )
    assert run("check", "shop:shop", "--complete").status == 0


def test_the_way_out_that_a_finding_names_is_one(shop: Callable[..., None]) -> None:
    """Every command in a message must work as it stands there."""
    run("lock", "shop:shop")
    shop(AS_TEXT)
    [line] = run("check", "shop:shop").out.splitlines()
    command = line.rpartition("binlog schema ")[2].split()
    assert command == ["lock", "shop:shop", "--unpublished", "Placed"]
    assert run(*command).status == 0
    shop(AS_TEXT, ('{**event.key, "total"', 'dict(event.key) | {"total"'))
    [line] = run("check", "shop:shop").out.splitlines()
    assert "--same-meaning" in line
    assert run("lock", "shop:shop", "--same-meaning").status == 0
    assert run("check", "shop:shop").status == 0


def test_keys_of_golden_events_are_given_once_and_kept(shop: Callable[..., None]) -> None:
    shop(("**event.key, ", '"order": event.key["order"], '))
    assert "--key Placed=ATTR[,ATTR]" in run("lock", "shop:shop", "--dry-run").err
    assert run("lock", "shop:shop", "--key", "Placed=order").err == ""
    assert run("lock", "shop:shop").err == ""
    assert json.loads(Path("schema.lock.json").read_text())["types"]["Placed"]["key"] == ["order"]


@pytest.mark.parametrize(
    ("args", "status", "says"),
    [
        (["check", "shop:shop"], 2, "there is no lock file: schema.lock.json: write it"),
        (["check", "shop:shop", "bad.json"], 2, "no JSON: expecting value: bad.json, line 2"),
        (["check", "shop:shop", "new.json"], 3, "lock file of format 9, this code knows up to 1"),
        (["check", "shop:nope"], 2, "module 'shop' has no 'nope'"),
        (["check"], 2, "missing argument 'MODULE:OBJECT'"),
        (["lock", "shop:shop", "--key", "a,b,c"], 2, "--key 'a,b,c': one or two attributes"),
        (["lock", "shop:shop", "--key", "Nope=a"], 2, "--key names the type 'Nope'"),
        (["lock", "shop:shop", "--unpublished", "Nope"], 2, "the lock has no such type"),
        (["lock", "shop:shop", "no/where.json"], 3, "the lock file cannot be written"),
        (["nope"], 2, "no such command 'nope': binlog schema"),
    ],
)
def test_bad_input_is_one_line(
    shop: Callable[..., None], args: list[str], status: int, says: str
) -> None:
    Path("bad.json").write_text('{\n"types": oops}')
    Path("new.json").write_text('{"format": 9, "whatever": true}')
    ran = binlog("schema", *args)
    assert ran.status == status, ran
    assert says in ran.err
    assert ran.out == ""


@pytest.mark.parametrize("verb", ["lock", "check"])
def test_each_ends_its_help_with_examples_of_itself(verb: str) -> None:
    shown = binlog("schema", verb, "--help")
    assert shown.status == 0
    assert f"  binlog schema {verb} shop:shop" in shown.out[shown.out.index("Examples:") :]


def test_without_a_verb_of_its_own_it_shows_its_help() -> None:
    assert binlog("schema") == binlog("schema", "--help")
