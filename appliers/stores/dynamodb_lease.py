"""The lock of a DynamoDB store: a row that names the writer and until when, and what is ahead.

Nothing rests on it: what is written stands under conditions of its own, so two writers only undo each
other's work. It tells the second one early and by name. Times are the service's, by the ``Date`` of
its replies, so no machine's clock matters.

``begun`` counts the commits that have begun to write items, and ``ahead`` says how far: of each live
generation the partitions, and the last offset that an item of theirs may be at. Before the first item
of a commit its partitions are noted there; they count until their checkpoint has reached that
offset, whoever writes it, and however many commits it takes after a crash. Until then a reader may
see half of a commit. Who finds nothing ahead, and the same count before and after reading, has read
one moment.

A lease ends by itself after `LEASE_S`, or at once where its process is seen to be gone (same
machine). While somebody writes, a thread renews it. A build only folds for a long time, in forked
processes that no other thread may disturb: it takes a longer one instead (`BUILD_LEASE_S`).
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from appliers.stores.dynamodb_calls import Calls
from appliers.stores.dynamodb_items import Attributes
from appliers.stores.dynamodb_rows import Rows
from binlog.errors import BinlogError, BusyError
from binlog.logger import get_logger

LEASE_S = 30
BUILD_LEASE_S = 900
BEAT_S = LEASE_S / 3
RELEASE_S = 5.0  # that giving it back is tried: it ends by itself
LOCK = {"pk": {"S": "store"}, "sk": {"S": "lock"}}
_ASK_S = 0.25

_logger = get_logger(__name__)


class Lock(msgspec.Struct, frozen=True):
    """The row. ``rev`` 0: there is none."""

    owner: str = ""  # random, a handle's; empty: free
    holder: str = ""  # for people
    process: str = ""  # what tells whether it is there any more, on its machine
    until_ms: int = 0
    begun: int = 0
    ahead: str = ""  # JSON of `Ahead`; empty: nothing
    rev: int = 0


def lock_of(item: Mapping[str, Any] | None) -> Lock:
    """What the row says."""
    if item is None:
        return Lock()
    return Lock(
        owner=item["owner"]["S"],
        holder=item["holder"]["S"],
        process=item["process"]["S"],
        until_ms=int(item["until_ms"]["N"]),
        begun=int(item["begun"]["N"]),
        ahead=item["ahead"]["S"] if "ahead" in item else "",
        rev=int(item["rev"]["N"]),
    )


def lock_item(lock: Lock) -> Attributes:
    """The row that says it."""
    item = LOCK | {
        name: {"S": value} if isinstance(value, str) else {"N": str(value)}
        for name, value in msgspec.structs.asdict(lock).items()
    }
    return item if lock.ahead else {name: item[name] for name in item if name != "ahead"}


Ahead = dict[str, dict[int, int]]
"""By generation and partition, the offset that an item may be at already."""

_read_ahead = msgspec.json.Decoder(Ahead).decode


def ahead_of(lock: Lock, applied: Callable[[str], Mapping[int, int] | None]) -> Ahead:
    """What is still ahead; ``applied`` gives how far the checkpoints of a generation are.

    It gives ``None`` for one that is not live: what was written there nobody reads.
    """
    found: Ahead = {}
    for generation, offsets in (_read_ahead(lock.ahead) if lock.ahead else {}).items():
        reached = applied(generation)
        if reached is not None:
            left = {p: offset for p, offset in offsets.items() if reached.get(p, 0) < offset}
            found |= {generation: left} if left else {}
    return found


class Lease:
    """One handle's side of the lock. Any thread may use it."""

    def __init__(self, calls: Calls, rows: Rows, name: str) -> None:
        self._calls = calls
        self._rows = rows
        self._name = name
        self._owner = secrets.token_hex(8)
        self._mutex = threading.Lock()
        self._lock = Lock()
        self._held = False
        self._lease_s = LEASE_S
        self._renewer: threading.Thread | None = None
        self._stop = threading.Event()

    @property
    def held(self) -> bool:
        """As far as we know."""
        return self._held

    @property
    def lock(self) -> Lock:
        """The row as we last read or wrote it."""
        return self._lock

    def acquire(self, wait_s: float) -> None:
        """Take it, asking again until ``wait_s`` have passed; nothing if it is held already.

        Raises:
            BusyError: with ``holder``.
        """
        deadline = self._calls.clock.monotonic() + wait_s
        while not self._held:
            with self._mutex:
                found = lock_of(self._rows.get(LOCK))
                if self._is_free(found):
                    self._lock, self._lease_s = found, LEASE_S
                    self._held = self._write(owner=self._owner)
                    continue
            left = deadline - self._calls.clock.monotonic()
            if left <= 0:
                raise self._busy(found, wait_s)
            self._calls.pause(min(_ASK_S, left))

    def _is_free(self, found: Lock) -> bool:
        if not found.owner or found.owner == self._owner:
            return True
        return found.until_ms < self._calls.now_ms() or is_gone(found.process)

    def _busy(self, found: Lock, wait_s: float) -> BusyError:
        left_s = max(0, found.until_ms - self._calls.now_ms()) // 1000
        return BusyError(
            f"{found.holder} writes to the store; waited {wait_s:g} s",
            self._name,
            f"try again when it is done; if it was killed, in {left_s} s",
            holder=found.holder,
        )

    def _write(self, *, owner: str, **changes: Any) -> bool:
        wanted = msgspec.structs.replace(
            self._lock,
            owner=owner,
            holder=f"process {os.getpid()} on {socket.gethostname()}",
            process=identity(os.getpid()),
            until_ms=self._calls.now_ms() + self._lease_s * 1000,
            rev=self._lock.rev + 1,
            **changes,
        )
        if not self._rows.put(lock_item(wanted), rev=self._lock.rev):
            return False
        self._lock = wanted
        return True

    def _update(self, **changes: Any) -> bool:
        """Write the row that is ours; ``False``, and not held any more, if it is another's."""
        with self._mutex:
            if self._held and not self._write(owner=self._owner, **changes):
                self._held = False
                _logger.warning("lock.lost", store=self._name)
            return self._held

    def begin(self, ahead: Ahead) -> bool:
        """Note that a commit begins, and what is ahead from now on; ``False``: the lock is another's."""
        return self._update(begun=self._lock.begun + 1, ahead=_text(ahead))

    def settle(self, ahead: Ahead) -> None:
        """Note that this is all that is ahead."""
        self._update(ahead=_text(ahead))

    # -- how long ------------------------------------------------------------------------------

    def extend(self) -> bool:
        """Take a long one, without a thread; whether it is held."""
        self._stop_renewing()
        self._lease_s = BUILD_LEASE_S
        return self._update()

    def keep(self) -> None:
        """Have a thread renew it from now on."""
        if self._renewer is not None or not self._held:
            return
        self._lease_s = LEASE_S
        self._stop = threading.Event()
        self._renewer = threading.Thread(
            target=self._renew, args=(self._stop,), name="dynamodb-lock", daemon=True
        )
        self._renewer.start()

    def _renew(self, stop: threading.Event) -> None:
        while not stop.wait(BEAT_S):
            # Commits renew it, too.
            if self._lock.until_ms - self._calls.now_ms() > LEASE_S * 1000 * 2 // 3:
                continue
            try:
                if not self._update():
                    return
            except BinlogError as error:  # told to the writer by its next commit
                _logger.warning("lock.unrenewed", store=self._name, error=str(error))

    def _stop_renewing(self) -> None:
        thread, self._renewer = self._renewer, None
        if thread is not None:
            self._stop.set()
            thread.join(
                5.0
            )  # longer only where the service does not answer: then it loses its lock

    def release(self) -> None:
        """Give it back; nothing if it is not held."""
        self._stop_renewing()
        with self._mutex:
            if not self._held:
                return
            self._held = False
            try:
                with self._calls.patient(RELEASE_S):
                    self._write(owner="")
            except BinlogError as error:  # it ends by itself
                _logger.warning("lock.unreleased", store=self._name, error=str(error))


def _text(ahead: Ahead) -> str:
    return msgspec.json.encode(ahead).decode() if ahead else ""


# -- processes -----------------------------------------------------------------------------------


def identity(pid: int) -> str:
    """What tells a process from all others, also later and elsewhere; empty where nothing does."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = Path("/proc/self/ns/pid").readlink()
        # The program's name, in parentheses, may hold anything.
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except (OSError, IndexError):
        return ""
    return "" if fields[0] in "ZX" else f"{boot} {namespace} {pid} {fields[19]}"


def is_gone(process: str) -> bool:
    """Whether a process of this machine has ended; of any other machine nobody knows here."""
    parts, here = process.split(), identity(os.getpid()).split()
    if len(parts) != len(here) or parts[:2] != here[:2] or not here:
        return False
    return identity(int(parts[2])) != process
