"""An archive: the chains of all partitions of one log, under one address.

``archive.json`` names the log and holds its genesis record, the same bytes that stand in every
partition of the log; it is written once, before any segment. It is JSON, a function of the genesis
alone, so of several who make an archive at once all write the same.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import msgspec

from binlog.archive.chain import Chain
from binlog.archive.keys import OWN_PREFIXES, ROOT_KEY
from binlog.archive.segment import LogOf, another_log, newer
from binlog.archive.segment_info import SegmentInfo
from binlog.errors import ConflictError, DamageError, NoLogError
from binlog.objects.objects import Objects
from binlog.params import Params, decode_genesis, genesis_hash

ARCHIVE_FORMAT = 1
KIND = "binlog archive"
_ENDS_AT_ONCE = 8  # 8 MiB each, or a block
_ROOT_BYTES_MAX = 1024 * 1024  # a genesis record of a KB or two


class _Root(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: int
    kind: str
    log_id: str
    timeline: int
    genesis: str
    genesis_sha256: str  # hex: its first half is the genesis hash, which all segments carry


class _Version(msgspec.Struct):
    format: int
    kind: str


_encode = msgspec.json.Encoder(order="deterministic").encode


class Archive:
    """An open archive; ``objects`` is closed with it. Any thread may call any of it."""

    def __init__(self, objects: Objects, params: Params, genesis: bytes) -> None:
        self.objects = objects
        self.params = params
        self.genesis = genesis
        self.log_id = params.log_id
        self.name = objects.name
        self.log = LogOf(bytes.fromhex(params.log_id), genesis_hash(genesis), params.timeline)
        self._chains: dict[int, Chain] = {}

    @classmethod
    def create(cls, objects: Objects, params: Params, genesis: bytes) -> Archive:
        """The archive of that log, made now if there is none.

        Raises:
            MismatchError: there is one of another log.
            UpgradeError: of a newer format.
            DamageError: what stands there is no archive's root.
            ConflictError: other things are kept there.
            StorageError, RefusedError: the storage's.
        """
        if objects.get(ROOT_KEY, 0, 1) is None:
            _check_empty(objects)
        if not objects.put_new(ROOT_KEY, encode_root(params, genesis)):
            found = cls.open(objects)
            if found.genesis != genesis:
                raise another_log(found.log_id, params.log_id, objects.name)
            return found
        return cls(objects, params, genesis)

    @classmethod
    def open(cls, objects: Objects) -> Archive:
        """The archive at that address.

        Raises:
            NoLogError: there is none.
            UpgradeError, DamageError, StorageError, RefusedError: as `create`.
        """
        data = objects.get(ROOT_KEY, 0, _ROOT_BYTES_MAX)
        if data is None:
            if next(iter(objects.list("chain/")), None) is not None:
                raise DamageError(
                    f"segments without their {ROOT_KEY}",
                    objects.name,
                    "binlog archive LOG ARCHIVE writes it anew, of the same log",
                )
            raise NoLogError(
                "no archive is here", objects.name, "make one: binlog archive LOG ARCHIVE"
            )
        genesis = _genesis(data, f"{ROOT_KEY} of {objects.name}")
        return cls(objects, decode_genesis(genesis, objects.name), genesis)

    def chain(self, partition: int) -> Chain:
        """One partition's chain."""
        chain = self._chains.get(partition)
        if chain is None:
            chain = self._chains.setdefault(partition, Chain(self.objects, self.log, partition))
        return chain

    def checked_ends(self) -> dict[int, SegmentInfo | DamageError | None]:
        """By partition what `Chain.checked_end` gives, or the damage; several are read at once.

        Raises:
            MismatchError, UpgradeError, StorageError, RefusedError: as that.
        """

        def end(partition: int) -> SegmentInfo | DamageError | None:
            try:
                return self.chain(partition).checked_end()
            except DamageError as error:
                return error

        partitions = range(self.params.partitions)
        with ThreadPoolExecutor(_ENDS_AT_ONCE, "binlog-ends") as pool:
            return dict(zip(partitions, pool.map(end, partitions), strict=True))

    def close(self) -> None:
        """Close the storage."""
        self.objects.close()


def _check_empty(objects: Objects) -> None:
    """That nothing is there but what is an archive's own: it may be a log's folder.

    Raises:
        ConflictError: something is.
    """
    last = ""
    while (entry := next(iter(objects.list(after=last)), None)) is not None:
        own = next((each for each in OWN_PREFIXES if entry.key.startswith(each)), None)
        if own is None:
            raise ConflictError(
                f"other things are kept there, {entry.key} for one",
                objects.name,
                "name an empty place for the archive",
            )
        last = own + "~"  # behind all of them


def encode_root(params: Params, genesis: bytes) -> bytes:
    """The bytes of ``archive.json``."""
    digest = sha256(genesis).hexdigest()
    root = _Root(ARCHIVE_FORMAT, KIND, params.log_id, params.timeline, genesis.decode(), digest)
    return _encode(root) + b"\n"


def is_archive(objects: Objects) -> bool:
    """Whether an archive, or what is left of one, stands at that address."""
    return (
        objects.get(ROOT_KEY, 0, 1) is not None
        or next(iter(objects.list("chain/")), None) is not None
    )


def _genesis(data: bytes, where: str) -> bytes:
    try:
        loose = msgspec.json.decode(data, type=_Version)
        if loose.kind == KIND and loose.format > ARCHIVE_FORMAT:
            raise newer(f"an archive of format {loose.format}", ARCHIVE_FORMAT, where)
        root = msgspec.json.decode(data, type=_Root)
    except (msgspec.DecodeError, ValueError) as error:
        raise _no_root(str(error), where) from error
    genesis = root.genesis.encode()
    if sha256(genesis).hexdigest() != root.genesis_sha256:
        raise _no_root("the checksum of its genesis record is wrong", where)
    if encode_root(decode_genesis(genesis, where), genesis) != data:
        raise _no_root("its parts disagree", where)
    return genesis


def _no_root(why: str, where: str) -> DamageError:
    return DamageError(
        f"no archive's root ({why})", where, "restore it from a copy, or name another place"
    )
