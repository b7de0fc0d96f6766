"""Addresses of logs, stores, archives and snapshots: URLs, the same everywhere.

::

    file:DIR            a log, an archive or snapshots in a directory
    sqlite:FILE         a store in one file
    memory:             a store, gone with the process
    kinesis://STREAM    dynamodb://PREFIX    s3://BUCKET/PREFIX
                        ?region=..&profile=..&role=ARN&external_id=..&endpoint=..&fips=true
                        (what is left out comes from the usual AWS environment)
                        kinesis: &reads=2.5  GetRecords calls a second and shard, of the 5 there are
                        dynamodb: &tables=FILE.toml  what tables there are to be

What follows ``file:`` and ``sqlite:`` is the path as it is, blanks, ``%`` and ``?`` included; an
absolute one may be written ``file:///a/b``, too.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote

import msgspec

from binlog.aws.account import ACCOUNT_PARAMETERS, Account, account_of
from binlog.clock import Clock
from binlog.errors import RefusedError
from binlog.log import Log, NamesArchive

if TYPE_CHECKING:
    from binlog.archive.archive_log import ArchiveLog

PATH_SCHEMES = ("file", "sqlite")
SERVICE_SCHEMES = ("kinesis", "dynamodb", "s3")
LOG_SCHEMES = ("file", "kinesis", "s3")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(.*)", re.DOTALL)
_OWN = {"kinesis": ("reads",), "dynamodb": ("tables",), "s3": ()}  # parameters beside the account's
_STREAM = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_FORMS = "file:DIR, sqlite:FILE, memory:, kinesis://STREAM, dynamodb://PREFIX, s3://BUCKET/PREFIX"


class Address(msgspec.Struct, frozen=True):
    """One parsed address.

    ``path`` is the directory or file, the stream, the table prefix, or ``BUCKET/PREFIX``; empty
    for ``memory:``. The rest is for services, ``None`` where the URL does not say it.
    """

    scheme: str
    path: str
    account: Account = Account()
    reads: float | None = None
    tables: str | None = None

    def __str__(self) -> str:
        return f"{self.scheme}:{'//' * (self.scheme in SERVICE_SCHEMES)}{self.path}"


class Named(msgspec.Struct, frozen=True):
    """How one reads with the archive that a log names itself (`binlog.archive.named_log`)."""

    from_beginning: bool = False
    tell: Callable[[str], None] | None = None  # hears its address when it is opened
    otherwise: Callable[[], str | None] | None = None  # asked of a log that names none itself


def parse_address(url: str) -> Address:
    """The address that ``url`` is.

    Raises:
        RefusedError: it is none, with what to write instead.
    """
    match = _SCHEME.fullmatch(url)
    if match is None:
        kind = "sqlite" if url.endswith((".db", ".sqlite", ".sqlite3")) else "file"
        raise RefusedError(f"{url!r} is no address", do=f"write {kind}:{url or 'PATH'}")
    scheme, rest = match[1].lower(), match[2]
    if scheme in PATH_SCHEMES:
        return Address(scheme, _path(url, scheme, rest))
    if scheme == "memory":
        if rest:
            raise RefusedError(f"{url!r} names a place in memory", do="write memory:")
        return Address(scheme, "")
    if scheme in SERVICE_SCHEMES:
        return _service(url, scheme, rest)
    raise RefusedError(f"{url!r} has an unknown scheme", do=f"write one of {_FORMS}", scheme=scheme)


def _path(url: str, scheme: str, rest: str) -> str:
    path = rest
    if rest.startswith("///"):
        path = rest[2:]
    elif rest.startswith("//"):
        raise RefusedError(f"{url!r} names a host", do=f"write {scheme}:{rest.lstrip('/')}")
    if not path or "\0" in path:
        raise RefusedError(f"{url!r} has no path", do=f"write {scheme}:PATH")
    return path


def _service(url: str, scheme: str, rest: str) -> Address:
    name, _, query = rest.removeprefix("//").partition("?")
    form = next(form for form in _FORMS.split(", ") if form.startswith(scheme))
    if not rest.startswith("//") or not name.strip("/"):
        raise RefusedError(f"{url!r} has no name", do=f"write {form}")
    if scheme == "kinesis" and not _STREAM.fullmatch(unquote(name)):
        raise RefusedError(
            f"{unquote(name)!r} is no stream's name", do="1 to 128 of A-Z a-z 0-9 _ . -"
        )
    try:
        options = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError as error:
        raise RefusedError(f"{url!r}: {error}", do=f"write {form}?region=NAME") from error
    known = sorted(ACCOUNT_PARAMETERS | set(_OWN[scheme]))
    given: dict[str, str] = {}
    for option, value in options:
        if option not in known or not value:
            raise RefusedError(
                f"{url!r} has an option {option!r} that is unknown or empty",
                do=f"options are {', '.join(known)}",
            )
        if option in given:
            raise RefusedError(f"{url!r} has the option {option!r} twice", do="give it once")
        given[option] = value
    return Address(
        scheme,
        unquote(name.rstrip("/")),
        account=account_of(given, url),
        reads=_rate(url, given["reads"]) if "reads" in given else None,
        tables=given.get("tables"),
    )


def _rate(url: str, text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate < float("inf"):
        raise RefusedError(f"{url!r}: reads={text} is no rate", do="write reads=2.5")
    return rate


def open_log(
    url: str,
    archive: str | None = None,
    *,
    archive_first: bool = True,
    clock: Clock | None = None,
    named: Named | None = None,
) -> Log:
    """The log at an address; its caller closes it.

    With the address of its ``archive`` the two are one log: what the one has forgotten is read in the
    other. ``archive_first``: so is what both have, as far as whole segments of it are archived. An
    address of an archive alone is a log, too, which takes no events. Without an archive given, ``named``
    is for readers: then the one that the log names itself is there for what it has forgotten.

    Raises:
        RefusedError: no address of a log, or there is none.
        MismatchError, DamageError, UpgradeError, StorageError: see the log's own class; an archive
            of another log.
    """
    if archive is None:
        log = _open_alone(url, clock)
        return log if named is None else _with_named(log, named, clock)
    from binlog.archive.archive_log import ArchiveLog
    from binlog.archive.archived_log import ArchivedLog

    log = _open_alone(url, clock)
    if isinstance(log, ArchiveLog):
        return log
    try:
        kept = _open_archive(archive, clock)
        try:
            return ArchivedLog(log, kept, archive_first=archive_first)
        except BaseException:
            kept.close()
            raise
    except BaseException:
        log.close()
        raise


def _with_named(log: Log, named: Named, clock: Clock | None) -> Log:
    if not isinstance(log, NamesArchive):
        return log
    try:
        found = log.archive_named or (named.otherwise() if named.otherwise else None)
    except BaseException:
        log.close()
        raise
    if not found:
        return log
    from binlog.archive.named_log import NamedArchiveLog

    return NamedArchiveLog(
        log,
        found,
        lambda url: _open_archive(url, clock),
        from_beginning=named.from_beginning,
        tell=named.tell,
    )


def _open_alone(url: str, clock: Clock | None) -> Log:
    address = parse_address(url)
    if is_archive_address(address):
        return _open_archive(url, clock)
    if address.scheme == "file":
        from binlog.logs.directory import DirectoryLog  # not for `--help`

        return DirectoryLog(address.path, clock=clock)
    if address.scheme == "kinesis":
        from binlog.logs.kinesis import READS_PER_S, KinesisLog

        return KinesisLog(
            address.path,
            account=address.account,
            reads_per_s=address.reads or READS_PER_S,
            clock=clock,
        )
    if address.scheme == "memory":
        raise RefusedError(
            "a log in memory belongs to the program that made it",
            do="write file:DIR; in a program, binlog.logs.MemoryLog",
        )
    raise RefusedError(
        f"{url!r} is no log", do="write file:DIR or kinesis://STREAM, or an archive's address"
    )


def is_archive_address(address: Address) -> bool:
    """Whether that is of an archive, or of what is left of one, and of no log that can grow."""
    from binlog.archive.keys import ROOT_KEY

    folder = Path(address.path)
    return address.scheme == "s3" or (
        address.scheme == "file" and ((folder / ROOT_KEY).is_file() or (folder / "chain").is_dir())
    )


def _open_archive(url: str, clock: Clock | None) -> ArchiveLog:
    from binlog.archive.archive import Archive
    from binlog.archive.archive_log import ArchiveLog
    from binlog.archive.cursors import AHEAD_AT_ONCE
    from binlog.logs.kinesis_client import is_in_lambda
    from binlog.objects.address import open_objects

    objects = open_objects(url, clock=clock)
    try:
        # In a Lambda no thread of ours may be at work between two invocations (P8).
        fetches = 0 if is_in_lambda() else AHEAD_AT_ONCE
        is_local = not url.startswith("s3:")
        return ArchiveLog(Archive.open(objects), fetches=fetches, is_local=is_local, clock=clock)
    except BaseException:
        objects.close()
        raise
