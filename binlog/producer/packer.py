"""From queued events to the bytes of a frame: how many go into one.

A frame is closed at about `frame_bytes_goal` compressed bytes, reckoned by how well the last ones
compressed, and always within what the log has pinned: bytes, bytes when decompressed, events, and
kinds of event.
"""

from __future__ import annotations

from collections.abc import Sequence

from binlog.columns import columns_of, encode_body
from binlog.envelope import Envelope
from binlog.errors import RefusedError, TooLargeError
from binlog.frame import Header, Predecessor, Session, encode_frame
from binlog.params import Params, genesis_hash
from binlog.producer.lane import Chunk, Lane
from binlog.producer.session import SessionState

_RATIO_FIRST = 0.5  # a frame's bytes to the reckoned bytes of its events, until one has shown it
_RATIO_WEIGHT = 0.2  # of the newest frame
_RATIO_FROM_BYTES = 8 * 1024
_SLACK_BYTES = 4_096  # header, kinds, and what columns add


class Packer:
    """Makes the frames of one producer on one log."""

    def __init__(
        self, params: Params, genesis: bytes, *, frame_bytes_goal: int, id_window: bool
    ) -> None:
        self._params = params
        self._log_id = bytes.fromhex(params.log_id)
        self._genesis_hash = genesis_hash(genesis)
        self._goal = frame_bytes_goal
        self._id_window = id_window
        self._body_bytes_max = min(params.frame_bytes_max, params.body_bytes_max) - _SLACK_BYTES
        self._ratio = 0.0
        self._learn(_RATIO_FIRST)

    def _learn(self, ratio: float) -> None:
        self._ratio += (ratio - self._ratio) * (_RATIO_WEIGHT if self._ratio else 1.0)
        self.body_bytes_goal = min(int(self._goal / self._ratio), self._body_bytes_max)
        """How many bytes of events, as `lane` reckons them, make a full frame."""

    def pack(self, lane: Lane, session: SessionState, first: int) -> tuple[list[Chunk], int, bytes]:
        """Take the next events off a lane, at least one: chunks, events, frame from ``first`` on."""
        bytes_goal, count_max = self.body_bytes_goal, self._params.frame_events_max
        predecessor = lane.predecessor(session.name) if first == 1 else None
        while True:
            chunks = lane.take(bytes_goal, count_max)
            if len(chunks) == 1:
                envelopes = chunks[0].envelopes
            else:
                envelopes = [envelope for chunk in chunks for envelope in chunk.envelopes]
            data = self._encode(envelopes, session, lane.partition, first, predecessor)
            if data is not None:
                size = sum([chunk.size for chunk in chunks])
                if size >= _RATIO_FROM_BYTES:  # small frames say little about full ones
                    self._learn(len(data) / size)
                return chunks, len(envelopes), data
            # Too many kinds, or larger than reckoned: rare, so by halves. One alone always fits,
            # `check` has seen to it.
            lane.put_back(chunks)
            count_max = len(envelopes) // 2

    def check(self, envelopes: Sequence[Envelope], sizes: Sequence[int]) -> None:
        """That each event by itself fits a frame; ``sizes`` are upper bounds of theirs.

        Raises:
            TooLargeError: one does not; with its size and the limit.
        """
        if max(sizes) > self._body_bytes_max:
            for envelope in envelopes:
                self._check_one(envelope)

    def _check_one(self, envelope: Envelope) -> None:
        """Only the compressed bytes can tell."""
        body = encode_body(columns_of([envelope]))
        ids = self._log_id, self._genesis_hash
        frame = encode_frame(Header(Session(bytes(16), 1), 0, 0, 1, 1, *ids), body)
        for what, size, limit in (
            ("the event", len(body), self._params.body_bytes_max),
            ("the event's frame", len(frame), self._params.frame_bytes_max),
        ):
            if size > limit:
                raise TooLargeError(
                    f"{what} has {size} bytes, the limit is {limit}",
                    f"event {envelope.id}",
                    size=size,
                    limit=limit,
                )

    def _encode(
        self,
        envelopes: Sequence[Envelope],
        session: SessionState,
        partition: int,
        first: int,
        predecessor: Predecessor | None,
    ) -> bytes | None:
        """The frame, or ``None`` if it breaks a bound."""
        try:
            body = encode_body(columns_of(envelopes))
        except RefusedError:  # too many kinds
            return None
        header = Header(
            session.name,
            session.born_ms,
            partition,
            first,
            len(envelopes),
            self._log_id,
            self._genesis_hash,
            predecessor=predecessor,
            id_window=self._id_window,
        )
        data = encode_frame(header, body)
        if len(data) > self._params.frame_bytes_max or len(body) > self._params.body_bytes_max:
            return None
        return data
