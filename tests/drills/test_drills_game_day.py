# ruff: noqa: N803, ARG002  parameters are called as AWS calls them
"""A game day: nothing is made before all is right, nothing is removed that is not a drill's own."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from binlog.drills.declared import load_drills
from binlog.drills.game_day import (
    Entry,
    GameDay,
    MadeLedger,
    ask_at_terminal,
    check_account,
    check_spending,
    game_day,
    new_run,
    plan,
    price,
    total,
)
from binlog.drills.targets.aws_made import GONE_S, Made
from binlog.drills.targets.real import Real, agree, clean_up
from binlog.errors import RefusedError
from tests.cli.running import binlog

ROOT = Path(__file__).parents[2]
LOG, STORE, OBJECTS = (
    "kinesis://binlog-drill-shop?region=eu-west-1",
    "dynamodb://binlog-drill-shop?region=eu-west-1",
    "s3://kept/binlog-drill-shop?region=eu-west-1",
)
RUN = "20261126t170212-1a2b3c4d"
ACCOUNT = "123456789012"


class NamedError(Exception):
    """As botocore's."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.response = {"Error": {"Code": code}}


class Services:
    """Streams, tables and keys of an account, and every call that was made; pages of two."""

    def __init__(self, *, streams: list[str], tables: list[str], keys: list[str]) -> None:
        self.streams, self.table_names, self.keys = list(streams), list(tables), list(keys)
        self.calls: list[str] = []
        self.stuck: set[str] = set()
        self.refused: set[str] = set()
        self.meta = SimpleNamespace(endpoint_url="https://kinesis.eu-west-1.amazonaws.com")

    def client(self, _: object) -> Services:
        return self

    def close(self) -> None:
        pass

    def describe_stream_summary(self, *, StreamName: str) -> object:
        if StreamName not in self.streams:
            raise NamedError("ResourceNotFoundException")
        return {}

    def delete_stream(self, *, StreamName: str, EnforceConsumerDeletion: bool) -> None:
        self._delete(self.streams, StreamName)

    def list_tables(self, *, ExclusiveStartTableName: str | None = None) -> Mapping[str, Any]:
        begin = 0
        if ExclusiveStartTableName is not None:
            begin = self.table_names.index(ExclusiveStartTableName) + 1
        page = self.table_names[begin : begin + 2]
        more = {"LastEvaluatedTableName": page[-1]} if begin + 2 < len(self.table_names) else {}
        return {"TableNames": page, **more}

    def delete_table(self, *, TableName: str) -> None:
        self._delete(self.table_names, TableName)

    def list_objects_v2(
        self, *, Bucket: str, Prefix: str, ContinuationToken: str = "0"
    ) -> Mapping[str, Any]:
        assert Bucket == "kept"
        found = [key for key in self.keys if key.startswith(Prefix)]
        begin = int(ContinuationToken)
        page = {"Contents": [{"Key": key} for key in found[begin : begin + 2]]}
        more = begin + 2 < len(found)
        return {**page, "IsTruncated": more, "NextContinuationToken": str(begin + 2)}

    def delete_objects(self, *, Bucket: str, Delete: Mapping[str, Any]) -> Mapping[str, Any]:
        failed = []
        for each in Delete["Objects"]:
            self.calls.append(f"delete {each['Key']}")
            if each["Key"] in self.stuck:
                failed.append({"Key": each["Key"], "Code": "AccessDenied"})
            else:
                self.keys.remove(each["Key"])
        return {"Errors": failed}

    def _delete(self, there: list[str], name: str) -> None:
        self.calls.append(f"delete {name}")
        if name in self.refused:
            raise NamedError("AccessDeniedException")
        if name not in self.stuck:
            there.remove(name)


OTHERS = {
    "streams": ["orders", "binlog-drill-shop", "binlog-drill-shop-20261126t170212-ffffffff"],
    "tables": [
        "orders",
        "binlog-drill-shop-live.orders",
        f"binlog-drill-shop-{RUN}.orders",  # no store of a run
        f"another-binlog-drill-shop-{RUN}-live.orders",
        "binlog-drill-shop-20261126t170212-ffffffff-live.orders",
        "zebra",
    ],
    "keys": ["orders/1", "binlog-drill-shop/1", f"binlog-drill-shop-{RUN}x/1"],
}
OURS = {
    "streams": [f"binlog-drill-shop-{RUN}"],
    "tables": [f"binlog-drill-shop-{RUN}-{name}" for name in ("live.binlog", "live.orders", "aside.orders.1a2b3c4d")],
    "keys": [f"binlog-drill-shop-{RUN}/archive/{n}" for n in range(5)],
}  # fmt: skip


def services() -> Services:
    return Services(
        streams=OTHERS["streams"] + OURS["streams"],
        tables=sorted(OTHERS["tables"] + OURS["tables"]),
        keys=OTHERS["keys"] + OURS["keys"],
    )


class Time:
    """A clock that moves when somebody waits."""

    def __init__(self) -> None:
        self.now = 0.0

    def pause(self, seconds: float) -> None:
        self.now += seconds

    def __call__(self) -> float:
        return self.now


def made(double: Services, time: Time | None = None) -> Made:
    time = time or Time()
    urls = {"log": LOG, "store": STORE, "objects": OBJECTS}
    return Made(urls, RUN, client=double.client, pause=time.pause, clock=time)


def silent(question: str) -> str:
    raise AssertionError(f"nobody is to be asked: {question}")


# -- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "kinesis://orders", "kinesis://binlog", "kinesis://my-binlog-drill", "kinesis://binlog-drills",
        "kinesis://Binlog-Drill-x", "kinesis://binlog-drill-", "kinesis://binlog-drill_x",
        f"kinesis://binlog-drill-{'x' * 80}", "kinesis://binlog-drill.orders",
    ],
)  # fmt: skip
def test_a_stream_that_is_not_marked_is_refused(url: str) -> None:
    """What production uses is never called so; whatever else is may be production."""
    with pytest.raises(RefusedError, match="not marked as a target of drills"):
        game_day([url, STORE])


@pytest.mark.parametrize(
    "url",
    ["dynamodb://live", "s3://binlog-drill-bucket/orders", "s3://kept/x/binlog-drill", "s3://kept"],
)
def test_prefixes_of_tables_and_objects_are_marked_themselves(url: str) -> None:
    """A bucket's name says nothing about what else is in it."""
    given = [LOG, url] if url.startswith("dynamodb") else [LOG, STORE, url]
    with pytest.raises(RefusedError, match="not marked"):
        game_day(given)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], "no address of a log"),
        ([LOG], "no address of a store"),
        ([LOG, LOG, STORE], "two addresses of a log"),
        ([LOG, "sqlite:x.db"], "is no target of a drill"),
        (["nowhere.toml"], "cannot be read"),
    ],
)
def test_what_is_no_target_is_refused(given: list[str], words: str) -> None:
    with pytest.raises(RefusedError, match=words):
        game_day(given)


def test_a_file_says_the_same_as_addresses(tmp_path: Path) -> None:
    path = tmp_path / "game-day.toml"
    path.write_text(f'account = "{ACCOUNT}"\nlog = "{LOG}"\nstore = "{STORE}"\n')
    assert game_day([str(path)]) == GameDay(log=LOG, store=STORE, account=ACCOUNT)
    path.write_text(f'acount = "{ACCOUNT}"\nlog = "{LOG}"\nstore = "{STORE}"\n')
    with pytest.raises(RefusedError, match="'acount' is unknown"):
        game_day([str(path)])
    path.write_text('log = "kinesis://orders"\nstore = "dynamodb://orders"\n')
    with pytest.raises(RefusedError, match="not marked"):
        game_day([str(path)])
    path.write_text(f'log = "{STORE}"\nstore = "{STORE}"\n')
    with pytest.raises(RefusedError, match="is no address of a log"):
        game_day([str(path)])


def test_no_run_is_called_like_another() -> None:
    random, now = Random(1), datetime(2026, 11, 26, 17, 2, 12, tzinfo=UTC)
    names = {new_run(random, now) for _ in range(1_000)}
    assert len(names) == 1_000
    assert all(name.startswith("20261126t170212-") for name in names)


# -- account and price ---------------------------------------------------------------------------


def test_another_account_is_refused() -> None:
    with pytest.raises(RefusedError, match="are of account 999999999999, not of 123456789012"):
        check_account([(LOG, ACCOUNT), (STORE, "999999999999")], ACCOUNT)
    for named in ("", "12345", "default"):
        with pytest.raises(RefusedError, match="is no account's id"):
            check_account([(LOG, named)], named)
    assert check_account([(LOG, ACCOUNT)], "1234-5678-9012\n") == ACCOUNT


def agreed_on(**more: Any) -> tuple[str, list[str]]:
    said: list[str] = []
    declared = list(load_drills([ROOT / "scripts/drills/drill_table_dropped.py"]).values())
    options: dict[str, Any] = {
        "account": ACCOUNT, "agreed": True, "dry_run": False, "ask": silent,
        "who": lambda _: (ACCOUNT, "https://kinesis.eu-west-1.amazonaws.com"),
        "own": lambda *_: None,
    } | more  # fmt: skip
    day = GameDay(log=LOG, store=STORE, objects=OBJECTS)
    return agree(day, declared, say=said.append, **options), said


def test_account_and_price_are_asked_in_this_order_and_the_plan_is_said_between() -> None:
    asked: list[str] = []

    def ask(question: str) -> str:
        asked.append(question)
        return ACCOUNT if len(asked) == 1 else "spend"

    account, said = agreed_on(account=None, agreed=False, ask=ask)
    assert account == ACCOUNT
    assert asked[0].startswith("The id of the account")
    assert asked[1].startswith("Type `spend` to spend about $0.")
    assert "2 drills, one after the other:" in said
    assert "  a stream binlog-drill-shop-RUN.." in said
    assert "$" in said[-1]


@pytest.mark.parametrize("answer", ["", "yes", "y", "no"])
def test_nothing_but_the_word_is_a_yes(answer: str) -> None:
    with pytest.raises(RefusedError, match="nothing was made"):
        check_spending(1.0, agreed=False, ask=lambda _: answer)


def test_a_dry_run_says_the_plan_and_asks_for_no_yes() -> None:
    _, said = agreed_on(agreed=False, dry_run=True)
    assert any("together" in line for line in said)


def test_a_wrong_account_is_refused_before_the_plan() -> None:
    with pytest.raises(RefusedError, match="not of 999999999999"):
        agreed_on(account="999999999999")


def test_stand_ins_are_not_taken_for_aws() -> None:
    _, said = agreed_on(who=lambda _: (ACCOUNT, "http://127.0.0.1:4567"))
    assert said[1] == "none of these is AWS by its name: a rehearsal on stand-ins costs nothing"
    assert "none of these is AWS" not in " ".join(agreed_on()[1])


def test_nobody_at_the_terminal_is_no_yes() -> None:
    with pytest.raises(RefusedError, match="there is nobody to ask"):
        ask_at_terminal("really? ")


def test_the_price_grows_with_the_drills_and_names_all_services() -> None:
    one, ten = price(1, objects=True), price(10, objects=True)
    assert total(ten) == pytest.approx(10 * total(one))
    assert 0.05 < total(one) < 1
    assert {part.what.split(",")[0] for part in one} == {"Kinesis", "DynamoDB", "S3"}
    lines = plan(GameDay(log=LOG, store=STORE), [], ACCOUNT, ["https://x.amazonaws.com"])
    assert "  archive and snapshots in a folder of this machine" in lines


# -- the command ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--target", "kinesis://orders", "--target", STORE], "may be production"),
        (["--target", LOG], "no address of a store"),
    ],
)
def test_the_command_refuses_before_it_calls_anybody(
    given: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even the account is asked of a target that may be production."""

    def who(url: str) -> tuple[str, str]:
        raise AssertionError(f"{url} was called")

    monkeypatch.setattr("binlog.drills.targets.real.who_and_where", who)
    ledger = tmp_path / "made.jsonl"
    drills = str(ROOT / "scripts/drills/drill_table_dropped.py")
    done = binlog("drill", "run", "all", "--drills", drills, "--ledger", str(ledger), *given)
    assert done.status == 2
    assert words in done.err
    assert not ledger.exists()


# -- what is removed -----------------------------------------------------------------------------


def test_what_the_run_made_goes_and_nothing_else() -> None:
    double = services()
    assert made(double).remove() == []
    assert double.streams == OTHERS["streams"]
    assert double.table_names == sorted(OTHERS["tables"])
    assert double.keys == OTHERS["keys"]
    assert sorted(double.calls) == sorted(
        f"delete {name}" for names in OURS.values() for name in names
    )


def test_what_is_found_is_of_the_run() -> None:
    found = {name for _, name in made(services()).find()}
    assert found == {name for names in OURS.values() for name in names}


def test_what_cannot_be_removed_is_listed_and_the_rest_goes() -> None:
    """A bill that nobody knows of is the worst end of a game day."""
    double, time = services(), Time()
    double.stuck = {OURS["tables"][0], OURS["keys"][4]}
    double.refused = {OURS["streams"][0]}
    left = made(double, time).remove()
    assert time.now > GONE_S
    assert sorted(line.partition(": ")[0] for line in left) == sorted([
        f"kinesis://{OURS['streams'][0]}",
        f"s3://kept/{OURS['keys'][4]}",
        f"table {OURS['tables'][0]}",
    ])  # fmt: skip
    assert double.table_names == sorted([*OTHERS["tables"], OURS["tables"][0]])


@pytest.mark.parametrize("run", ["", "x", "20261126t170212", f"{RUN}-", "*"])
def test_nothing_is_removed_for_what_is_no_run(run: str) -> None:
    with pytest.raises(RefusedError, match="is no run"):
        Made({"log": LOG}, run, client=services().client)


def test_nothing_is_removed_where_the_name_is_not_marked() -> None:
    """The ledger is a file, and somebody may write what he likes into it."""
    with pytest.raises(RefusedError, match="not marked"):
        Made({"log": "kinesis://orders"}, RUN, client=services().client)


# -- target and ledger ---------------------------------------------------------------------------


def real(folder: Path, double: Services, day: GameDay | None = None) -> Real:
    place = folder / "table-dropped"
    place.mkdir()
    return Real(
        place,
        day or GameDay(log=LOG, store=STORE, objects=OBJECTS),
        run=RUN,
        account=ACCOUNT,
        ledger=MadeLedger(folder / "made.jsonl"),
        client=double.client,
        pause=lambda _: None,
    )


def test_the_run_is_in_the_ledger_before_anything_is_made(tmp_path: Path) -> None:
    double = services()
    real(tmp_path, double)
    assert double.calls == []
    [entry] = MadeLedger(tmp_path / "made.jsonl").open_runs()
    assert (entry.run, entry.account, entry.urls["log"]) == (RUN, ACCOUNT, LOG)


def test_addresses_are_the_runs_own_and_keep_their_options(tmp_path: Path) -> None:
    addresses = real(tmp_path, services()).addresses
    assert addresses["log"] == f"kinesis://binlog-drill-shop-{RUN}?region=eu-west-1"
    assert addresses["live"] == f"dynamodb://binlog-drill-shop-{RUN}-live?region=eu-west-1"
    assert addresses["archive"] == f"s3://kept/binlog-drill-shop-{RUN}/archive?region=eu-west-1"


def test_without_objects_archive_and_snapshots_are_files_of_the_drill(tmp_path: Path) -> None:
    target = real(tmp_path, services(), GameDay(log=LOG, store=STORE))
    assert target.addresses["snapshots"] == "file:snapshots"
    assert target.path("snapshots") == target.folder / "snapshots"
    with pytest.raises(RefusedError, match="no file of this machine"):
        target.path("log")


def test_what_is_closed_is_removed_and_the_ledger_says_so(tmp_path: Path) -> None:
    double = services()
    target = real(tmp_path, double)
    assert target.close() == []
    assert double.streams == OTHERS["streams"]
    assert not target.folder.exists()
    assert MadeLedger(tmp_path / "made.jsonl").open_runs() == []


def test_a_run_whose_rest_could_not_be_removed_stays_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("binlog.drills.targets.aws_made.GONE_S", -1.0)
    double = services()
    double.refused = {OURS["streams"][0]}
    left = real(tmp_path, double).close()
    [entry] = MadeLedger(tmp_path / "made.jsonl").open_runs()
    assert list(entry.left) == left != []


def test_cleaning_up_is_of_open_runs_in_their_own_account(tmp_path: Path) -> None:
    double, ledger = services(), MadeLedger(tmp_path / "made.jsonl")
    urls = {"log": LOG, "store": STORE, "objects": OBJECTS}
    ledger.write(Entry(run=RUN, account=ACCOUNT, drill="x", urls=urls))
    options: dict[str, Any] = {"client": double.client, "pause": lambda _: None}
    with pytest.raises(RefusedError, match="are of account 999999999999"):
        clean_up(ledger, print, who=lambda _: ("999999999999", ""), **options)
    assert double.calls == []
    said: list[str] = []
    assert clean_up(ledger, said.append, who=lambda _: (ACCOUNT, ""), **options) == []
    assert len(said) == sum(map(len, OURS.values()))
    assert double.streams == OTHERS["streams"]
    assert clean_up(ledger, said.append, who=lambda _: (ACCOUNT, ""), **options) == []


def test_a_ledger_that_cannot_be_read_is_no_empty_one(tmp_path: Path) -> None:
    path = tmp_path / "made.jsonl"
    path.write_text("{}\n")
    with pytest.raises(RefusedError, match=r"made\.jsonl line 1"):
        MadeLedger(path).open_runs()


def test_a_dropped_table_is_the_runs_own_and_not_its_namesake(tmp_path: Path) -> None:
    double = services()
    double.get_waiter = lambda _: SimpleNamespace(wait=lambda **_: None)  # type: ignore[attr-defined]
    double.table_names = sorted([*double.table_names, f"binlog-drill-shop-{RUN}-live.orders2"])
    real(tmp_path, double).drop_table("live", "orders")
    assert double.calls == [f"delete binlog-drill-shop-{RUN}-live.orders"]
