"""Writing under the generations of a relay: fences, frames, and reading back what was accepted.

Who calls it decides what to write; here it is decided under which session, and when that ends.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

from binlog.columns import KINDS_MAX, columns_of, encode_body
from binlog.envelope import Envelope
from binlog.errors import LostError, MismatchError, StorageError
from binlog.frame import Header, Session, encode_frame
from binlog.log import Appended, Expired, Log, Put, Remote
from binlog.logger import get_logger
from binlog.params import genesis_hash
from binlog.partition import hash_to_partition, ordering_key
from binlog.relay.frames import ONE_ONLY, OwnFrames, fence

FRAME_BYTES_GOAL = 128 * 1024  # of a frame's events before they are compressed
TRIES_S = 60.0  # how long appends that fail are repeated, and what was sent is waited for
WAIT_S = 0.25  # for what was sent to be seen, a look
PAUSE_FIRST_S, PAUSE_MOST_S = 0.1, 5.0
_RANDOM_BITS = 20  # of a generation, below the time

_logger = get_logger(__name__)


class SessionOver(Exception):  # noqa: N818 (not a failure: the session's age)
    """Begin anew; what is not in the log yet is sent under the next generation."""


class Sender:
    """The sessions of one relay on one log."""

    def __init__(
        self,
        log: Log,
        frames: OwnFrames,
        *,
        monotonic: Callable[[], float],
        pause: Callable[[float], None],
        random_bits: Callable[[int], int],
    ) -> None:
        self._log = log
        self._frames = frames
        self._monotonic = monotonic
        self._pause = pause
        self._random_bits = random_bits
        self._session: Session | None = None
        self._born_ms = 0
        self._next: dict[int, int] = {}  # number, by partition

    def send(self, envelopes: Iterable[Envelope]) -> None:
        """Append the events, and wait until they are read back.

        Raises:
            SessionOver: before all of them were.
        """
        if self._is_old():
            raise SessionOver
        groups: dict[int, list[Envelope]] = {}
        for envelope in envelopes:
            key = ordering_key(envelope.table, envelope.key)
            partition = hash_to_partition(key, self._log.params.partitions)
            groups.setdefault(partition, []).append(envelope)
        self._append({p: deque(self._pack(p, group)) for p, group in groups.items()})
        self._await_accepted(groups)

    # -- frames ----------------------------------------------------------------------------------

    def _pack(self, partition: int, envelopes: Sequence[Envelope]) -> Iterator[bytes]:
        params = self._log.params
        bytes_max = min(FRAME_BYTES_GOAL, params.body_bytes_max, params.frame_bytes_max) // 2
        group: list[Envelope] = []
        kinds: set[tuple[str, int, str]] = set()
        taken = 0
        for envelope in envelopes:
            kind = (envelope.type, envelope.schema, envelope.table)
            parts = (envelope.key, envelope.data or b"", envelope.meta or b"", envelope.id.encode())
            size = sum(map(len, parts)) + 64
            is_full = len(group) >= params.frame_events_max or len(kinds | {kind}) > KINDS_MAX
            if group and (is_full or taken + size > bytes_max):
                yield self._frame(partition, group)
                group, kinds, taken = [], set(), 0
            group.append(envelope)
            kinds.add(kind)
            taken += size
        yield self._frame(partition, group)

    def _frame(self, partition: int, envelopes: Sequence[Envelope]) -> bytes:
        assert self._session is not None
        first = self._next.get(partition, 1)
        self._next[partition] = first + len(envelopes)
        header = Header(
            session=self._session,
            born_ms=self._born_ms,
            partition=partition,
            first=first,
            count=len(envelopes),
            log_id=bytes.fromhex(self._log.params.log_id),
            genesis_hash=genesis_hash(self._log.genesis),
        )
        return encode_frame(header, encode_body(columns_of(envelopes)))

    def _append(self, queues: dict[int, deque[bytes]]) -> None:
        """One frame a partition at a time, the same bytes again until they are taken (P3)."""
        deadline, pause_s = self._monotonic() + TRIES_S, PAUSE_FIRST_S
        tried: set[int] = set()
        while queues:
            partitions = sorted(queues)
            puts = [Put(p, queues[p][0], tried=p in tried) for p in partitions]
            trouble: Exception | None = None
            for partition, reply in zip(partitions, self._log.append(puts), strict=True):
                if isinstance(reply, Appended):  # however late (P4): what counts is read back
                    tried.discard(partition)
                    queues[partition].popleft()
                    if not queues[partition]:
                        del queues[partition]
                elif isinstance(reply, Expired):
                    raise SessionOver
                elif reply.final:
                    raise reply.error
                else:
                    tried.add(partition)
                    trouble = reply.error
            if trouble is not None:
                if self._monotonic() > deadline:
                    raise trouble
                self._pause(pause_s)
                pause_s = min(pause_s * 2, PAUSE_MOST_S)

    def _await_accepted(self, partitions: Iterable[int]) -> None:
        """Until all that was numbered in these partitions is read back as accepted."""
        deadline = self._monotonic() + TRIES_S
        waiting = set(partitions)
        while waiting := {p for p in waiting if not self._is_accepted(p)}:
            if self._frames.read(wait_s=WAIT_S):
                continue
            if self._is_old(whole=True):
                raise SessionOver
            if self._monotonic() > deadline:
                raise StorageError(
                    f"what was written cannot be read back within {TRIES_S:g} s",
                    self._log.name,
                    "start the relay again: it finds out what is there",
                )

    def _is_accepted(self, partition: int) -> bool:
        return self._frames.accepted.get(partition, 0) >= self._next[partition] - 1

    # -- sessions --------------------------------------------------------------------------------

    def _is_old(self, *, whole: bool = False) -> bool:
        """Whether half of the session's age is over, or all of it."""
        age_ms = self._log.params.session_age_ms
        return self._session is None or (
            self._log.now_ms() > self._born_ms + (age_ms if whole else age_ms // 2)
        )

    def begin(self) -> None:
        """Begin a generation: fence all partitions, and know what was done before.

        Raises:
            LostError: another relay has begun after the generation before.
        """
        deadline = self._monotonic() + TRIES_S
        while True:
            try:
                self._fence()
            except SessionOver as over:
                if self._monotonic() > deadline:
                    error = StorageError("no relay can begin", self._log.name, "see its trouble")
                    raise error from over.__cause__
                self._pause(PAUSE_FIRST_S)
            else:
                return

    def _fence(self) -> None:
        log, frames = self._log, self._frames
        while frames.read():
            pass
        self._session = Session(frames.family, self._new_generation())
        # A log that stamps births stamps all of one commit alike: there the fences are one.
        self._born_ms = log.birth_ms() if isinstance(log, Remote) else 0
        self._next = {}
        frames.begin(self._session)
        token = fence(f"{self._random_bits(128):032x}")
        partitions = range(log.params.partitions)
        puts = [Put(p, self._frame(p, [token])) for p in partitions]
        _logger.info("relay.begins", session=str(self._session))
        if self._born_ms:
            self._append({put.partition: deque([put.data]) for put in puts})
        else:
            self._append_in_one(puts)
        self._await_accepted(partitions)
        if any(found != token.id for found in frames.fences.values()):
            raise LostError(
                "another relay of this inbox began in the same moment", log.name, ONE_ONLY
            )

    def _append_in_one(self, puts: Sequence[Put]) -> None:
        for reply in self._log.append(puts):
            if isinstance(reply, Expired):
                raise SessionOver
            if not isinstance(reply, Appended):
                if reply.final:
                    raise reply.error
                # Whatever of it is in the log, or will be, is of a generation that ends here.
                raise SessionOver from reply.error
            self._born_ms = reply.born_ms

    def _new_generation(self) -> int:
        """One above all that are in the log: the log's time, and a little chance.

        On a log that stamps no births ours must not lie before that of a generation that we close:
        that is remembered for L from our birth (P7), and frames of theirs count for L from theirs.
        """
        log, last = self._log, self._frames.generation
        if isinstance(log, Remote):
            deadline = self._monotonic() + TRIES_S
            while log.birth_ms() <= last >> _RANDOM_BITS:
                if self._monotonic() > deadline:
                    raise StorageError(
                        "a relay of this inbox began in the future of the log's time", log.name
                    )
                self._pause(PAUSE_FIRST_S)
        now = log.now_ms() << _RANDOM_BITS | self._random_bits(_RANDOM_BITS)
        generation = max(now, last + 1 + self._random_bits(_RANDOM_BITS // 2))
        if generation >> 63:
            raise MismatchError(
                f"somebody has used up the generations of this relay's sessions ({last})",
                log.name,
                "who may write to the log may forge that; relay from a copy of the inbox",
            )
        return generation
