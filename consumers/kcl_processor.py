"""The record processor for `amazon_kclpy`: the one file that knows it.

It contains nothing but the protocol; what is done stands in `consumers.kcl_shard`. Its traps, read
in amazon_kclpy 3.1.3 and met:

* exceptions of a processor's methods are printed, and the daemon is told that all went well; only
  what is no `Exception` gets through, `SystemExit` above all. So everything else becomes that;
* ``checkpoint(number)`` without a second number is the first part of an aggregate; without any it is
  the end of what was delivered, and at the end of a shard, the end;
* ``binary_data`` decodes base64 at a fifth of msgspec's speed, which was most of what we did;
* ``approximate_arrival_timestamp`` is a local time without a zone; ``timestamp_millis`` is none.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from amazon_kclpy import kcl
from amazon_kclpy.v3 import processor
from msgspec import convert

from consumers.kcl_shard import CheckpointRefusedError, Delivered, ShardConsumer


class Processor(processor.RecordProcessorBase):  # type: ignore[misc]  # it ships no types
    """Hands each message on."""

    def __init__(self, shard: ShardConsumer) -> None:
        self._shard = shard

    def initialize(self, initialize_input: Any) -> None:
        with self._guarded():
            self._shard.initialize(initialize_input.shard_id, str(initialize_input.sequence_number))

    def process_records(self, process_records_input: Any) -> None:
        with self._guarded():
            self._shard.process(
                [
                    Delivered(
                        int(record.sequence_number),
                        record.sub_sequence_number or 0,
                        record.timestamp_millis,
                        record.partition_key,
                        convert(record.data, bytes),
                    )
                    for record in process_records_input.records
                ],
                process_records_input.millis_behind_latest,
                _Checkpoint(process_records_input.checkpointer),
            )

    def lease_lost(self, lease_lost_input: Any) -> None:  # noqa: ARG002  amazon_kclpy's signature
        with self._guarded():
            self._shard.lease_lost()

    def shard_ended(self, shard_ended_input: Any) -> None:
        with self._guarded():
            self._shard.shard_ended(_Checkpoint(shard_ended_input.checkpointer))

    def shutdown_requested(self, shutdown_requested_input: Any) -> None:
        with self._guarded():
            self._shard.shutdown_requested(_Checkpoint(shutdown_requested_input.checkpointer))

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Let nothing out that would be swallowed."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 (it ends the process, in any case)
            self._shard.guard(error)


class _Checkpoint:
    """`consumers.kcl_shard.Checkpointer` by amazon_kclpy's."""

    def __init__(self, checkpointer: Any) -> None:
        self._checkpointer = checkpointer

    def __call__(self, sequence: int | None = None, sub: int | None = None) -> None:
        number = None if sequence is None else str(sequence)
        try:
            self._checkpointer.checkpoint(number, sub)
        except kcl.CheckpointError as error:
            raise CheckpointRefusedError(str(error.value)) from error


def run(shard: ShardConsumer, *, messages: TextIO, answers: TextIO, errors: TextIO) -> None:
    """Handle the daemon's messages until it closes the pipe.

    Raises:
        SystemExit: something failed.
    """
    kcl.KCLProcess(Processor(shard), messages, answers, errors).run()
