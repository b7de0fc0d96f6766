"""How much to take on at a time where a call has to be back in time."""

from __future__ import annotations

from binlog.clock import Clock
from binlog.errors import BusyError
from binlog.reader import PAGE_BYTES

FIRST_BYTES = 256 * 1024  # of log as stored, before it is known how long that takes
LEAST_BYTES = 16 * 1024
_SHARE = 4  # of the time that is left, a page may take one part in so many


class Budget:
    """The time of one call after the other; what it learns of their pace it keeps.

    A page's length is chosen so that a page which takes several times as long as it should is still
    done in time. Nothing is begun that is not expected to end in time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._deadline: float | None = None
        self._bytes_per_s = 0.0  # 0: not known yet
        self._begun = 0.0

    def begin(self, deadline: float | None) -> None:
        """A call begins, to be back by that monotonic time."""
        self._deadline = deadline

    def page_bytes(self) -> int | None:
        """How long the next page may be; ``None``: the time is up. Its time runs from here."""
        self._begun = self._clock.monotonic()
        if self._deadline is None:
            return PAGE_BYTES
        left_s = self._deadline - self._begun
        if left_s <= 0 or left_s * self._bytes_per_s < LEAST_BYTES * bool(self._bytes_per_s):
            return None
        if not self._bytes_per_s:
            return FIRST_BYTES
        return max(LEAST_BYTES, min(PAGE_BYTES, int(self._bytes_per_s * left_s / _SHARE)))

    def check(self) -> None:
        """That there is time.

        Raises:
            BusyError: there is none left.
        """
        if self._deadline is not None and self._clock.monotonic() >= self._deadline:
            raise BusyError(
                "the time of a call is up in the middle of a search for a RESOLVE",
                do="have the records delivered again: it goes on where it was",
            )

    def note(self, size: int) -> None:
        """A page of so many bytes is done."""
        took_s = self._clock.monotonic() - self._begun
        if not size or took_s <= 0:
            return
        # What a call costs that has little to carry says nothing of one that has much.
        pace = max(size, LEAST_BYTES) / took_s
        self._bytes_per_s = min(pace, self._bytes_per_s * 2) if self._bytes_per_s else pace
