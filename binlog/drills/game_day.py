"""A game day: the same drills on services of a real account, and what has to be true before one begins.

Invariants:

* Every name that is given carries the mark ``binlog-drill``; one that does not is refused before any
  call is made. What production uses is never called like that.
* Nothing that is there already is used. Each drill makes its own under ``NAME-RUN``, where RUN has
  the moment and 32 random bits, and only what is called ``NAME-RUN..`` is ever removed.
* RUN is in the ledger, on the disk, before anything is made; so what a killed drill has left can be
  named, and removed, later.
* The account is named by a person, and is the one that the credentials are of.
* The price is said first, and agreed to.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

import msgspec

from binlog.address import Address, parse_address
from binlog.aws.account import is_aws
from binlog.drills.declared import Declared
from binlog.errors import BusyError, RefusedError
from binlog.logs.kinesis_price import SHARD_HOUR_DOLLARS, UNIT_DOLLARS

MARK = "binlog-drill"
_MARKED = re.compile(rf"{MARK}(-[a-z0-9][a-z0-9-]*)?")
LOOPBACK = ("127.0.0.1", "localhost", "::1")
_NAME_MAX = 80  # RUN and the store's name come behind it; a stream's name has at most 128
_ACCOUNT = re.compile(r"\d{12}", re.ASCII)
_SCHEMES = {"log": "kinesis", "store": "dynamodb", "objects": "s3"}
_FORM = f"write kinesis://{MARK}-NAME, dynamodb://{MARK}-NAME and s3://BUCKET/{MARK}-NAME"

# A drill at most, reckoned: what those on the embedded target publish, ten times; each event put
# alone, written to three stores with its checkpoint, and read as often. The stream is paid for the
# hour that it began. List prices of us-east-1, November 2026, from secondary sources
# (https://aws.amazon.com/dynamodb/pricing/on-demand/, https://aws.amazon.com/s3/pricing/).
SHARDS, EVENTS, STORES, OBJECTS = 1, 50_000, 3, 2_000
WRITE_DOLLARS, READ_DOLLARS, PUT_DOLLARS = 0.625e-6, 0.125e-6, 5e-6

Ask = Callable[[str], str]
"""Asks the person at the terminal; raises `RefusedError` where nobody sits there."""


class GameDay(msgspec.Struct, frozen=True, kw_only=True):
    """Where it takes place. ``objects`` is ``None`` where archive and snapshots stay on this machine."""

    log: str
    store: str
    objects: str | None = None
    account: str | None = None  # 12 digits, as a person wrote them

    @property
    def urls(self) -> dict[str, str]:
        """Those that are given, by what they are."""
        named = {"log": self.log, "store": self.store, "objects": self.objects}
        return {kind: url for kind, url in named.items() if url is not None}


class Part(msgspec.Struct, frozen=True):
    """A line of the price."""

    what: str
    amount: float
    dollars_each: float

    @property
    def dollars(self) -> float:
        return self.amount * self.dollars_each


# -- what is given -----------------------------------------------------------------------------


def game_day(given: Sequence[str]) -> GameDay:
    """A file ``.toml`` with ``log``, ``store``, ``objects``, ``account``, or these addresses themselves.

    Raises:
        RefusedError: something else; an address twice or not at all; a name without the mark.
    """
    if len(given) == 1 and given[0].endswith(".toml"):
        found = _read(Path(given[0]))
    else:
        found = {}
        for url in given:
            kind = next((k for k, s in _SCHEMES.items() if url.startswith(f"{s}://")), None)
            if kind is None:
                raise RefusedError(f"{url!r} is no target of a drill", "--target", _FORM)
            if kind in found:
                raise RefusedError(f"two addresses of a {kind}", "--target", "give one of each")
            found[kind] = url
    for kind in ("log", "store"):
        if kind not in found:
            raise RefusedError(f"no address of a {kind}", "--target", _FORM)
    day = GameDay(**found)
    for kind, url in day.urls.items():
        checked_address(kind, url)
    return day


def _read(path: Path) -> dict[str, str]:
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        why = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
        raise RefusedError(f"it cannot be read: {why}", str(path), "see docs/drills.md") from error
    known = GameDay.__struct_fields__
    for name, value in found.items():
        if name not in known or not isinstance(value, str):
            what = f"{name!r} is unknown, or no text"
            raise RefusedError(what, str(path), f"write {', '.join(known)}, each in quotes")
    return found


def checked_address(kind: str, url: str) -> Address:
    """An address of a log, a store or objects whose name bears the mark.

    Raises:
        RefusedError: it does not, or is of something else.
    """
    address = parse_address(url)
    if address.scheme != _SCHEMES.get(kind):
        raise RefusedError(f"{url!r} is no address of a {kind}", "--target", _FORM)
    if address.tables is not None:
        # It may ask for tables that cannot be removed, or that cost by the hour.
        what = "a file of tables is not for drills, which make plain ones"
        raise RefusedError(what, url, "leave &tables= out")
    name = name_of(address)
    if not _MARKED.fullmatch(name) or len(name) > _NAME_MAX:
        raise RefusedError(
            f"{name!r} is not marked as a target of drills, and may be production",
            url,
            f"call it {MARK}-NAME, of a-z 0-9 - and at most {_NAME_MAX}; a drill makes it itself",
        )
    return address


def name_of(address: Address) -> str:
    """What has to be marked: the stream, the tables' prefix, the objects' prefix in their bucket."""
    return address.path.partition("/")[2] if address.scheme == "s3" else address.path


# -- before it begins --------------------------------------------------------------------------


def named_account(day: GameDay, option: str | None, ask: Ask) -> str:
    """The account that a person says is meant: by option, in the file, or asked."""
    return (
        option
        or day.account
        or ask("The id of the account that the drills run in and that pays for them: ")
    )


def check_account(found: Iterable[tuple[str, str]], named: str) -> str:
    """The account that is named, if the credentials of all addresses are of it; ``found``: (url, id).

    Raises:
        RefusedError: it is no account's id, or that of another one.
    """
    named = named.strip().replace("-", "")
    if not _ACCOUNT.fullmatch(named):
        raise RefusedError(f"{named!r} is no account's id", "--account", "give its 12 digits")
    for url, account in found:
        if account != named:
            what = f"the credentials are of account {account}, not of {named}"
            raise RefusedError(what, url, "see AWS_PROFILE, ?profile= and ?role=")
    return named


def check_endpoints(found: Sequence[tuple[str, str]]) -> None:
    """Either all services are this machine's stand-ins, or none; ``found``: (url, endpoint).

    Raises:
        RefusedError: a variable of a stack is left in the environment, or one of it is missing.
    """
    here = [url for url, where in found if urlsplit(where).hostname in LOOPBACK]
    if here and len(here) < len(found):
        what = f"{', '.join(here)} would go to this machine, and the others not"
        raise RefusedError(what, "--target", "see endpoint=, AWS_PROFILE, AWS_ENDPOINT_URL..")


def price(drills: int, *, objects: bool) -> list[Part]:
    """What so many drills cost at most, about."""
    parts = [
        Part("Kinesis, shard hours", drills * SHARDS, SHARD_HOUR_DOLLARS),
        Part("Kinesis, PUT payload units", drills * EVENTS, UNIT_DOLLARS),
        Part("DynamoDB, write units", drills * EVENTS * (STORES + 1), WRITE_DOLLARS),
        Part("DynamoDB, read units", drills * EVENTS * (STORES + 1), READ_DOLLARS),
    ]
    if objects:
        parts.append(Part("S3, requests that write", drills * OBJECTS, PUT_DOLLARS))
    return parts


def plan(
    day: GameDay, drills: Sequence[Declared], account: str, endpoints: Sequence[str]
) -> list[str]:
    """What is going to be done, and the price, a line each."""
    parts = price(len(drills), objects=day.objects is not None)
    lines = [f"account {account}, by {', '.join(dict.fromkeys(endpoints))}"]
    if not any(map(is_aws, endpoints)):
        lines.append("none of these is AWS by its name: a rehearsal on stand-ins costs nothing")
    lines += [f"{len(drills)} drill{'s' * (len(drills) != 1)}, one after the other:"]
    lines += [f"  {each.name}: {each.title}" for each in drills]
    lines.append("each makes, and removes when it ends, however it ends:")
    for kind, url in day.urls.items():
        lines.append(f"  {_MADE[kind]} {name_of(parse_address(url))}-RUN..")
    if day.objects is None:
        lines.append("  archive and snapshots in a folder of this machine")
    lines.append("at list prices at most about:")
    lines += [
        f"  {part.what:28} {part.amount:10,.0f} x ${part.dollars_each:.8f} = ${part.dollars:.4f}"
        for part in parts
    ]
    return [*lines, f"  {'together':28} {'':10}   {'':11}   ${total(parts):.2f}"]


_MADE = {"log": "a stream", "store": "tables", "objects": "objects under"}


def total(parts: Iterable[Part]) -> float:
    """Dollars."""
    return sum(part.dollars for part in parts)


def check_spending(dollars: float, *, agreed: bool, ask: Ask) -> None:
    """A yes to the price, by option or typed.

    Raises:
        RefusedError: it was not said.
    """
    if not agreed and ask(f"Type `spend` to spend about ${dollars:.2f}: ").strip() != "spend":
        raise RefusedError("not agreed to: nothing was made", do="give --yes-spend, or type spend")


def ask_at_terminal(question: str) -> str:
    """Ask whoever sits there.

    Raises:
        RefusedError: nobody does.
    """
    if not sys.stdin.isatty():
        raise RefusedError("there is nobody to ask", do="give --account ID and --yes-spend")
    print(question, end="", file=sys.stderr, flush=True)  # noqa: T201  standard output is the answer's
    return sys.stdin.readline()


# -- what is made ------------------------------------------------------------------------------


def new_run(random: Random, now: datetime) -> str:
    """A name that nobody has: ``20261126t170212-1a2b3c4d``."""
    return f"{now:%Y%m%dt%H%M%S}-{random.getrandbits(32):08x}"


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One run in the ledger; a later line of the same run replaces it."""

    run: str
    account: str
    drill: str
    urls: dict[str, str]
    removed: bool = False
    left: tuple[str, ...] = ()


class MadeLedger:
    """``made.jsonl``: what was made, before it was; appended to, never written anew."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, entry: Entry) -> None:
        """Durable on return."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a+b") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(0, end - 1))
            # A line that was cut short (a full disk, a crash) must not take this one with it.
            begin = b"" if file.read() in (b"", b"\n") else b"\n"
            file.write(begin + msgspec.json.encode(entry) + b"\n")
            file.flush()
            os.fsync(file.fileno())

    @contextlib.contextmanager
    def held(self, *, alone: bool = False) -> Iterator[None]:
        """In the block a run goes on by this ledger; or, ``alone``, none does.

        Whoever is killed holds it no longer.

        Raises:
            BusyError: a run goes on; or somebody cleans up.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            try:
                fcntl.flock(file, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
            except BlockingIOError as error:
                what = "a drill is running by it" if alone else "it is being cleaned up by"
                raise BusyError(what, str(self.path), "wait for its end") from error
            yield

    def open_runs(self) -> list[Entry]:
        """Those that were begun and of which nobody wrote that all is removed.

        Raises:
            RefusedError: a line that cannot be read.
        """
        if not self.path.is_file():
            return []
        found: dict[str, Entry] = {}
        for number, line in enumerate(self.path.read_bytes().splitlines(), 1):
            try:
                entry = msgspec.json.decode(line, type=Entry)
            except msgspec.MsgspecError as error:
                where = f"{self.path} line {number}"
                raise RefusedError(f"no entry: {error}", where, "mend the line") from error
            found[entry.run] = entry
        return [entry for entry in found.values() if not entry.removed]
