"""What a publish waits for: its outcomes, gathered, and whoever asked for them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeAlias

from binlog.producer.outcome import Ack, Acks, Delivery, error_of

OnDelivery: TypeAlias = Callable[[Delivery], object]
"""Called frame by frame, in the order of acknowledgement, by whichever thread does the I/O."""


class Ticket:
    """One publish. ``open`` counts its events without an outcome."""

    __slots__ = ("count", "deliveries", "done", "future", "is_single", "on_delivery", "open")

    def __init__(
        self,
        count: int,
        *,
        is_single: bool = False,
        future: Future[Any] | None = None,
        on_delivery: OnDelivery | None = None,
    ) -> None:
        self.count = count
        self.open = count
        self.is_single = is_single
        self.future = future
        self.on_delivery = on_delivery
        self.deliveries: list[Delivery] = []
        self.done = False  # all outcomes are in, and have been told

    def add(self, delivery: Delivery) -> None:
        self.deliveries.append(delivery)
        self.open -= len(delivery.indexes)

    def result(self) -> Ack | Acks:
        """The acknowledgement of all of it.

        Raises:
            UnknownOutcomeError, NotSentError: see `binlog.producer.outcome.error_of`.
        """
        error = error_of(self.deliveries)
        if error is not None:
            raise error
        acks = Acks(self.count, self.deliveries)
        return acks[0] if self.is_single else acks

    def finish(self) -> None:
        """Tell the future."""
        self.done = True
        future = self.future
        if future is None or not future.set_running_or_notify_cancel():
            return  # nobody asked, or nobody waits any more: the events went out all the same
        error = error_of(self.deliveries)
        if error is not None:
            future.set_exception(error)
        else:
            acks = Acks(self.count, self.deliveries)
            future.set_result(acks[0] if self.is_single else acks)
