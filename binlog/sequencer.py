"""The sequencer: from a partition's records, in log order, to events with dense offsets.

A pure fold, without I/O and without a clock: every reader that feeds it the same records gets the
same numbers (S1-S7 of DESIGN.md). What it guarantees, and the tests attack:

* offsets are 1, 2, 3, ... without a gap, whatever the log duplicates, delays or reorders;
* an envelope is accepted once: when the last of the envelopes up to it in its session arrived;
* a generation's first frame is accepted after the predecessor it names, and closes older ones;
* a frame is dropped for four reasons only, each counted: a duplicate, expired, of a closed
  generation, given up by a RESOLVE; an envelope also as a copy of one in the id window;
* whatever else does not fit halts: `Halted` is raised and the state is as before the record;
* a new sequencer from `encode_state` gives the same from there; a record fed twice changes nothing.

Time is `mark`, the highest arrival seen. A session expires at ``born + L < mark``. What one record
sets free is accepted in this order: first, in one pass by (family, generation), sessions whose
predecessor expires are released and sessions that expire with frames held halt; then the record's
own frame, and after it, by generation, those of its family that waited for it.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from hashlib import sha256

import msgspec

from binlog.arrival import Arrival, Decisions
from binlog.columns import Columns, FrameError, decode_columns
from binlog.errors import TrimmedError
from binlog.frame import Header, Session, check_header, decode_body, decode_header
from binlog.halt import EXPIRED_HELD, HOLD_BOUND, UNDECODABLE, Halted
from binlog.log import Position, Record
from binlog.params import Params, genesis_hash
from binlog.pinned import PARAMS_TYPE, changed, changes_in
from binlog.plain_frame import IDENTITY, read_plain
from binlog.run import Run
from binlog.sequencer_state import Counters, Held, SequencerState, SessionState
from binlog.sessions import Sessions
from binlog.window import IdWindow

_RUN = struct.Struct(">QI")
_UNDECIDED: Decisions = {}
_PLAIN_MAX = 256


class Sequencer:
    """One partition's. Feed it every record of the partition, in log order, from the genesis on."""

    def __init__(
        self, params: Params, genesis: bytes, partition: int, state: bytes | None = None
    ) -> None:
        self.partition = partition
        self.counters = Counters()
        self._genesis = genesis
        self._genesis_hash = genesis_hash(genesis)
        self._log_id = bytes.fromhex(params.log_id)
        self._pinned = params
        self._load(SequencerState() if state is None else SequencerState.decode(state))

    def _load(self, state: SequencerState) -> None:
        self.offset = state.offset
        self.mark = state.mark
        self.digest = state.digest
        self._begun = state.begun
        self._hold_factor = state.hold_factor
        self._changes = state.changes
        self.params = changed(self._pinned, state.changes)
        self._sessions = Sessions(self.params.session_life_ms, state.sessions, state.closed)
        self._window = IdWindow(self.params.id_window, state.window)
        # Sessions whose next frame is probably a plain one, by the bytes it will have in common.
        self._plain: dict[bytes, SessionState] = {}

    def encode_state(self, *, place: bytes = b"") -> bytes:
        """All that the next record's outcome depends on; ``place`` goes with it, see there."""
        return SequencerState(
            offset=self.offset,
            mark=self.mark,
            digest=self.digest,
            begun=self._begun,
            hold_factor=self._hold_factor,
            changes=self._changes,
            sessions=self._sessions.states(),
            closed=self._sessions.closings(),
            window=self._window.entries(),
            place=place,
        ).encode()

    @property
    def held(self) -> int:
        """Frames that wait for an earlier one."""
        return self._sessions.held_frames

    def accepted_up_to(self, session: Session) -> int | None:
        """The last number accepted or dropped as a copy; ``None``: never seen, expired or closed."""
        state = self._sessions.get(session)
        return None if state is None else state.next - 1

    def is_closed(self, session: Session) -> bool:
        """Whether a later generation of the family has closed the session here."""
        return self._sessions.is_closed(session)

    def feed(self, shard: str, record: Record, decisions: Decisions = _UNDECIDED) -> Sequence[Run]:
        """The runs that ``record`` makes acceptable, in offset order (mostly one, or none).

        ``decisions`` lifts halts of this very record, by (rule, session); see `binlog.halt`.

        Raises:
            Halted: a rule does not know what to do; nothing has changed.
            UpgradeError: a frame version that the log allows and this code cannot read.
            TrimmedError: the first record is not the genesis record: the log was cut.
        """
        state = self._plain.get(record.data[IDENTITY])
        if state is not None and not decisions and (run := self._feed_next(state, record)):
            return (run,)
        arrival = Arrival(self._pinned.log_id, self.partition, shard, record, decisions)
        mark = self.mark
        # When something expires, what is held may halt, after other changes: be able to go back.
        expiring = record.arrival_ms > self._sessions.deadline and (
            self.held > 0 or len(record.data) > self.params.hold_bytes_max
        )
        before = self.encode_state() if expiring else b""
        try:
            return self._advance(arrival)
        except Halted as error:
            if expiring:
                self._load(SequencerState.decode(before))
            self.mark = mark
            halt = msgspec.structs.replace(
                error.halt, offset=self.offset, digest=self.digest.hex(), mark=mark
            )
            raise Halted(halt) from error.__cause__

    def _advance(self, arrival: Arrival) -> Sequence[Run]:
        record = arrival.record
        runs: list[Run] = []
        header, frame = self._read(arrival)
        if record.arrival_ms > self.mark:
            self.mark = record.arrival_ms
            if self.mark > self._sessions.deadline:
                self._expire(arrival, runs)
        if frame is not None and header is not None:
            self._admit(arrival, header, frame, runs)
        return runs

    # -- one frame -------------------------------------------------------------------------------

    def _read(self, arrival: Arrival) -> tuple[Header | None, tuple[bytes, Columns] | None]:
        """Header, body and columns of what will be accepted or held; no frame if it is dropped.

        Nothing changes here but counters, so that an undecodable record halts cleanly.
        """
        record = arrival.record
        try:
            header = decode_header(record.data, version_allowed=self.params.frame_version)
            check_header(header, self.params, self._log_id, self._genesis_hash, self.partition)
            if not self._begun or header.genesis:
                self._begin(arrival, header)
                return header, None
            return header, self._read_frame(record, header)
        except FrameError as error:
            if not self._begun:
                raise self._cut_off(arrival) from error
            if arrival.decision(UNDECODABLE) != "skip":
                raise arrival.halted(UNDECODABLE, None, str(error)) from error
            self.counters.skipped += 1
            return None, None

    def _begin(self, arrival: Arrival, header: Header) -> None:
        """The genesis record, which must come first and may come again (C1, S5)."""
        if not header.genesis:
            raise self._cut_off(arrival)
        if decode_body(arrival.record.data, header) != self._genesis:
            raise FrameError("a genesis record of other parameters")
        self._begun = True

    def _cut_off(self, arrival: Arrival) -> TrimmedError:
        return TrimmedError(
            f"partition {self.partition} does not begin with its genesis record",
            str(Position(arrival.shard, arrival.record.sequence)),
            "the log was cut; start from a snapshot or an archive",
            partition=self.partition,
        )

    def _read_frame(self, record: Record, header: Header) -> tuple[bytes, Columns] | None:
        counters, session = self.counters, header.session
        mark = max(self.mark, record.arrival_ms)
        if self._sessions.is_expired(header.born_ms, mark):
            counters.expired += 1
            return None
        if header.born_ms > record.arrival_ms + self.params.born_tolerance_ms:
            raise FrameError(f"born {header.born_ms - record.arrival_ms} ms after its arrival")
        if self._sessions.is_closed(session):
            counters.closed += 1
            return None
        known = self._sessions.get(session)
        if known is not None:
            if known.born_ms != header.born_ms:
                raise FrameError(f"session born {known.born_ms}, this frame says {header.born_ms}")
            counters.given_up_late += known.gave_up(header.first, header.last)
            if header.last < known.next or any(
                h.first == header.first and h.count == header.count for h in known.held
            ):
                counters.duplicates += header.count
                return None
        body = decode_body(record.data, header)
        return body, decode_columns(body, header.count)

    def _admit(
        self, arrival: Arrival, header: Header, frame: tuple[bytes, Columns], runs: list[Run]
    ) -> None:
        session, record = header.session, arrival.record
        if self._sessions.is_closed(session):  # by what this very record's arrival set free
            self.counters.closed += 1
            return
        state = self._sessions.get(session)
        if state is None:
            first = max(1, header.base) if self.params.timeline else 1
            state = SessionState(session, header.born_ms, first)
        if header.last < state.next:  # likewise: its held frames went first, and carried this one
            self.counters.duplicates += header.count
            return
        waits_for = state.waits_for
        if header.first == 1 and header.predecessor is not None and not state.started:
            state.waits_for = header.predecessor
        held = Held(
            header.first, header.count, record.arrival_ms, str(record.sequence), record.data
        )
        if header.first <= state.next and not self._sessions.waits(state, self.mark):
            self._sessions.remember(state)
            self._accept(state, header, held, frame, runs)
        else:
            try:
                if not self._hold(arrival, state, held):
                    state.waits_for = waits_for
                    return
            except Halted:
                state.waits_for = waits_for
                raise
        self._drain(state, runs)
        for waiting in self._sessions.with_held(session.family):
            self._drain(waiting, runs)

    def _accept(
        self,
        state: SessionState,
        header: Header,
        carried: Held,
        frame: tuple[bytes, Columns],
        runs: list[Run],
    ) -> None:
        """Give offsets to what is new in a frame whose turn it is (S2, S6, P6, P7)."""
        body, columns = frame
        if not state.started:
            state.started = True
            state.waits_for = None
            self.counters.closed += self._sessions.close_older(state)
        skip = state.next - header.first
        if skip:
            self.counters.duplicates += skip
        state.next = header.last + 1
        taken: Sequence[int] = range(skip, header.count)
        if header.id_window:
            taken = self._window.admit(columns, taken, self.counters)
        else:
            if len(self._plain) >= _PLAIN_MAX:
                self._plain.clear()
            self._plain[carried.data[IDENTITY]] = state
        if not taken:
            return
        numbers: Sequence[int] = range(header.first + skip, header.last + 1)
        which = b""
        if len(taken) != header.count:
            columns = columns.take(taken)
            numbers = [header.first + i for i in taken]
            which = b"".join(i.to_bytes(4, "big") for i in taken)
        place = carried.arrival_ms, carried.sequence
        runs.append(self._number(columns, numbers, header.session, place, which, body))

    def _number(
        self,
        columns: Columns,
        numbers: Sequence[int],
        session: Session,
        place: tuple[int, int],
        which: bytes,
        body: bytes,
    ) -> Run:
        digest = sha256(self.digest + _RUN.pack(self.offset + 1, len(numbers)) + which)
        digest.update(body)
        self.digest = digest.digest()
        run = Run(self.partition, self.offset + 1, columns, numbers, session, *place)
        self.offset += len(numbers)
        self.counters.accepted += len(numbers)
        for kind in columns.kinds:
            if kind[0] == PARAMS_TYPE:
                self._change_params(columns)
        return run

    def _change_params(self, columns: Columns) -> None:
        self._changes = {**self._changes, **changes_in(columns, self.params)}
        self.params = changed(self._pinned, self._changes)
        self._window = IdWindow(self.params.id_window, self._window.entries())

    # -- the common frame ------------------------------------------------------------------------

    def _feed_next(self, state: SessionState, record: Record) -> Run | None:
        """The run of a record that is the next one of a session, as `_advance` would give it.

        ``None``, and nothing changed, if anything else has to be looked at: what is held or
        expires, a frame that is not plain, broken, or not the next one.
        """
        sessions, arrival_ms = self._sessions, record.arrival_ms
        if (
            arrival_ms > sessions.deadline
            or sessions.held_frames
            or state.born_ms > arrival_ms + self.params.born_tolerance_ms
            or sessions.get(state.session) is not state  # forgotten, perhaps closed
        ):
            return None
        plain = read_plain(record.data, self.partition, self.params)
        if plain is None or plain[0] != state.next:
            return None
        first, body, columns = plain
        state.next = first + len(columns)
        self.mark = max(self.mark, arrival_ms)
        numbers, place = range(first, state.next), (arrival_ms, record.sequence)
        return self._number(columns, numbers, state.session, place, b"", body)

    # -- holding ---------------------------------------------------------------------------------

    def _hold(self, arrival: Arrival, state: SessionState, held: Held) -> bool:
        """Keep a frame until its turn; ``False`` if a RESOLVE dropped it instead (S3)."""
        sessions, params, factor = self._sessions, self.params, self._hold_factor
        if (
            sessions.held_frames + 1 > params.hold_frames_max * factor
            or sessions.held_bytes + len(held.data) > params.hold_bytes_max * factor
        ):
            lowest = min([held.first, *(h.first for h in state.held)])
            decision = arrival.decision(HOLD_BOUND, state.session)
            if decision is None:
                detail = sessions.held_detail(state)
                missing = (state.next, lowest - 1) if lowest > state.next else None
                raise arrival.halted(HOLD_BOUND, state.session, detail, missing)
            if decision == "skip":
                self.counters.skipped += 1
                return False
            if decision == "hold":
                self._hold_factor *= 2
            if decision == "gap":
                state.give_up(lowest)
        sessions.remember(state)
        sessions.hold(state, held)
        self.counters.held += 1
        return True

    def _drain(self, state: SessionState, runs: list[Run]) -> None:
        """Accept the held frames of a session whose turn has come, the earliest record first."""
        while state.held and not self._sessions.waits(state, self.mark):
            ready = self._sessions.take_ready(state)
            if ready is None:
                return
            if ready.last < state.next:
                self.counters.duplicates += ready.count
                continue
            header = decode_header(ready.data, version_allowed=self.params.frame_version)
            body = decode_body(ready.data, header)
            self._accept(state, header, ready, (body, decode_columns(body, header.count)), runs)
            self.counters.drained += 1

    # -- time ------------------------------------------------------------------------------------

    def _expire(self, arrival: Arrival, runs: list[Run]) -> None:
        """What the new mark ends (S1): waits, sessions, memories of closed generations.

        One pass by (family, generation): an older generation ends, and halts if it still holds
        frames, before a younger one that waited for it is set free and would close it silently.
        """
        for state in self._sessions.ending(self.mark):
            if self._sessions.get(state.session) is None:
                continue  # closed by one before it
            self._drain(state, runs)
            if self._sessions.is_expired(state.born_ms, self.mark):
                if state.held:
                    self._end_held(arrival, state, runs)
                self._sessions.forget(state)
        self._sessions.end_waits_and_memories(self.mark)

    def _end_held(self, arrival: Arrival, state: SessionState, runs: list[Run]) -> None:
        decision = arrival.decision(EXPIRED_HELD, state.session)
        if decision is None:
            lowest = min(h.first for h in state.held)
            detail = f"{len(state.held)} frames held, number {state.next} never came"
            missing = state.next, lowest - 1
            raise arrival.halted(EXPIRED_HELD, state.session, detail, missing)
        if decision == "drop":
            self.counters.skipped += len(state.held)
        while decision == "accept" and state.held:
            state.give_up(min(h.first for h in state.held))
            self._drain(state, runs)
