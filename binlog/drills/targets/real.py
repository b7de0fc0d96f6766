"""Services of a real account, or of stand-ins, named by a game day."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from random import SystemRandom
from typing import Any

from msgspec.structs import replace

from binlog.address import open_log, parse_address
from binlog.aws.errors import error_code, trouble
from binlog.drills.clock import ClockAhead
from binlog.drills.declared import Declared
from binlog.drills.game_day import (
    SHARDS,
    Ask,
    Entry,
    GameDay,
    MadeLedger,
    ask_at_terminal,
    check_account,
    check_endpoints,
    check_spending,
    named_account,
    new_run,
    plan,
    price,
    total,
)
from binlog.drills.processes import nobodys_environment
from binlog.drills.target import STORES, Target
from binlog.drills.targets.aws_made import Client, Made, client_of
from binlog.drills.targets.copying import copying_files, copying_objects
from binlog.drills.targets.on_services import OnServices
from binlog.errors import RefusedError
from binlog.log import Log

OBJECTS = ("archive", "copy", "snapshots")
Item = dict[str, Any]


class Real(OnServices):
    """See `binlog.drills.target.Target`. All of it is named ``NAME-RUN..``, and removed by `close`."""

    name = "real"
    init_more = f"--shards {SHARDS}"
    rate = 400.0
    every_s = 1.0
    tells_applied = False
    wait_s = 180.0
    twin_wait_s = 60.0

    def __init__(
        self,
        folder: Path,
        day: GameDay,
        *,
        run: str,
        account: str,
        ledger: MadeLedger,
        client: Client = client_of,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """Makes nothing, but for a line in the ledger: from here on it may."""
        self.folder = folder
        self._made = Made(day.urls, run, client=client, pause=pause)
        self._entry = Entry(run=run, account=account, drill=folder.name, urls=day.urls)
        self._ledger = ledger
        self._addresses = {"log": _named(day.log, run, "")}
        self._addresses |= {name: _named(day.store, run, f"-{name}") for name in STORES}
        for name in OBJECTS:
            url = day.objects
            self._addresses[name] = f"file:{name}" if url is None else _named(url, run, f"/{name}")
        self._held = contextlib.ExitStack()
        self._held.enter_context(ledger.held())
        ledger.write(self._entry)

    @property
    def environment(self) -> Mapping[str, str]:
        """The user's credentials: here they are meant, and no others."""
        meant = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
        nobodys = {
            name: value
            for name, value in nobodys_environment().items()
            if not name.startswith("AWS_")
        }
        return {**nobodys, **meant}

    def typed(self, command: str) -> str:
        if self._addresses["archive"].startswith("file:"):
            return copying_files(command, self._addresses)
        return copying_objects(command)

    def open_log(self, name: str = "log", *, clock_s: float = 0.0) -> Log:
        address = self._addresses[name]
        if address.startswith("file:"):  # relative to where commands run
            address = f"file:{self.path(name)}"
        return open_log(address, clock=ClockAhead(clock_s))

    def _client(self) -> Any:
        return self._made.client("store")

    def path(self, name: str) -> Path:
        address = self._addresses[name]
        if not address.startswith("file:"):
            raise RefusedError("it is no file of this machine", address, "see the drill's on=")
        return self.folder / address.removeprefix("file:")

    def _parts(self, name: str) -> Iterator[str]:
        if name in STORES:
            for table in self._tables(name):
                yield table
                yield from sorted(repr(sorted(item.items())) for item in self._scan(table))
        elif name == "log":
            found = list(self._made.find())
            yield repr([each for each in found if each[0] == "log"])
        elif self._addresses[name].startswith("file:"):
            for path in sorted(self.path(name).rglob("*")):
                if path.is_file():
                    yield f"{path} {sha256(path.read_bytes()).hexdigest()}"
        else:
            yield from (key for key in self._made.object_keys() if f"/{name}/" in key)

    # -- disasters -------------------------------------------------------------------------------

    def drop_table(self, name: str, table: str) -> None:
        dropped = [each for each in self._tables(name) if self._is_of(each, name, table)]
        if not dropped:
            raise RefusedError(f"there is no table {table}", self._addresses[name])
        client = self._made.client("store")
        for each in dropped:
            client.delete_table(TableName=each)
            client.get_waiter("table_not_exists").wait(TableName=each)

    def corrupt(self, name: str, table: str, count: int) -> list[str]:
        client, changed = self._made.client("store"), []
        for each in self._tables(name):
            if not self._is_of(each, name, table):
                continue
            live = [item for item in self._scan(each) if "total" in item]
            for item in sorted(live, key=lambda item: str(item["id"]))[:count]:
                total = int(item["total"]["N"])
                client.update_item(
                    TableName=each,
                    Key={"id": item["id"]},
                    UpdateExpression="SET #t = :n",
                    ExpressionAttributeNames={"#t": "total"},
                    ExpressionAttributeValues={":n": {"N": str(total + 1)}},
                )
                changed.append(item["id"]["S"])
        return changed

    def _tables(self, name: str) -> list[str]:
        begin = f"{self._made.name('store')}-{name}."
        return [each for each in self._made.tables() if each.startswith(begin)]

    def _is_of(self, physical: str, name: str, table: str) -> bool:
        """``PREFIX.TABLE``, or the one that a rebuild made, ``PREFIX.TABLE.1a2b3c4d``."""
        own = f"{self._made.name('store')}-{name}.{table}"
        return physical == own or physical.startswith(f"{own}.")

    def _scan(self, table: str) -> Iterator[Item]:
        client = self._made.client("store")
        more: dict[str, Any] = {}
        while True:
            page = client.scan(TableName=table, ConsistentRead=True, **more)
            yield from page["Items"]
            if "LastEvaluatedKey" not in page:
                return
            more = {"ExclusiveStartKey": page["LastEvaluatedKey"]}

    # -- the end ---------------------------------------------------------------------------------

    def versions(self) -> dict[str, str]:
        return {
            "account": self._entry.account,
            "run": self._entry.run,
            **{
                f"endpoint of {kind}": str(self._made.client(kind).meta.endpoint_url)
                for kind in self._entry.urls
            },
        }

    def close(self) -> list[str]:
        left = self._made.remove()
        self._made.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        self._ledger.write(replace(self._entry, removed=not left, left=tuple(left)))
        self._held.close()
        return left


def who_and_where(url: str) -> tuple[str, str]:
    """The account that the credentials of an address are of, and where its calls go."""
    from binlog.aws.identity import endpoint_of, identity_of

    address = parse_address(url)
    where = endpoint_of(address.account, address.scheme, url)
    return identity_of(address.account, url).account_id, where


def agree(
    day: GameDay,
    drills: Sequence[Declared],
    *,
    account: str | None,
    agreed: bool,
    dry_run: bool,
    say: Callable[[str], object],
    ask: Ask = ask_at_terminal,
    who: Callable[[str], tuple[str, str]] = who_and_where,
    own: Callable[[str, str], None] | None = None,
) -> str:
    """Everything that has to be true before anything is made; the account's id.

    ``who`` tells, of an address, the account of its credentials and the endpoint of its service;
    ``own`` refuses objects in a bucket that is not the account's.

    Raises:
        RefusedError: it is not what is meant, or nobody agrees. Nothing was made then.
        BinlogError: nobody can be asked who we are.
    """
    known = {url: who(url) for url in day.urls.values()}
    check_endpoints([(url, each[1]) for url, each in known.items()])
    meant = check_account(
        [(url, each[0]) for url, each in known.items()], named_account(day, account, ask)
    )
    if day.objects is not None:
        (own or check_bucket)(day.objects, meant)
    for line in plan(day, drills, meant, [each[1] for each in known.values()]):
        say(line)
    if not dry_run:
        dollars = total(price(len(drills), objects=day.objects is not None))
        check_spending(dollars, agreed=agreed, ask=ask)
    return meant


def check_bucket(url: str, account: str, *, client: Client = client_of) -> None:
    """The one thing that has to be there before: a bucket, and the account's own.

    Raises:
        RefusedError: it is not there, or another account's.
    """
    address = parse_address(url)
    bucket, made = address.path.partition("/")[0], client(address)
    try:
        made.head_bucket(Bucket=bucket, ExpectedBucketOwner=account)
    except Exception as error:
        code = error_code(error)
        if code in ("404", "NoSuchBucket"):
            raise RefusedError("there is no such bucket", url, "make it: no drill does") from error
        if code in ("403", "AccessDenied"):
            what = f"the bucket is not account {account}'s, or may not be looked at"
            raise RefusedError(what, url, "give one of the account's own") from error
        raise trouble(error, url) from error
    finally:
        made.close()


def real_maker(day: GameDay, account: str, ledger: MadeLedger) -> Callable[[Path], Target]:
    """What makes the target in a folder, each time with names of its own."""

    def make(folder: Path) -> Target:
        run = new_run(SystemRandom(), datetime.now(UTC))
        return Real(folder, day, run=run, account=account, ledger=ledger)

    return make


def clean_up(
    ledger: MadeLedger,
    say: Callable[[str], object],
    *,
    client: Client = client_of,
    pause: Callable[[float], None] = time.sleep,
    who: Callable[[str], tuple[str, str]] = who_and_where,
) -> list[str]:
    """Remove what drills have left that were killed, by the ledger; what is still left.

    Raises:
        RefusedError: the credentials are of another account than the run's, or an entry that no drill
            has written.
        BusyError: a drill is running by this ledger: what it made is in use.
    """
    left: list[str] = []
    if not ledger.path.is_file():
        return left
    with ledger.held(alone=True):
        for entry in ledger.open_runs():
            # Before anybody is called: somebody may have written what he likes into it.
            with contextlib.closing(
                Made(entry.urls, entry.run, client=client, pause=pause)
            ) as made:
                check_account([(url, who(url)[0]) for url in entry.urls.values()], entry.account)
                for kind, name in made.find():
                    say(f"{kind} {name}")
                still = made.remove()
            ledger.write(replace(entry, removed=not still, left=tuple(still)))
            left += still
    return left


def _named(url: str, run: str, more: str) -> str:
    """``NAME`` of an address as ``NAME-RUN`` and more; its options stay."""
    name, mark, options = url.rstrip("/").partition("?")
    return f"{name.rstrip('/')}-{run}{more}{mark}{options}"
