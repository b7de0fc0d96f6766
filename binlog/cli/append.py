"""``binlog append``: JSON Lines in, a line an event out once it is durable.

One thread reads, parses and prints; the producer's makes frames durable meanwhile. It waits for
input and for outcomes at once, so that what is acknowledged is printed while the input is open.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from json.encoder import encode_basestring
from typing import BinaryIO

import click

from binlog.address import open_log
from binlog.cli.advice import advised
from binlog.cli.options import line_options, log_argument
from binlog.cli.output import json_lines, json_option, note, stdout
from binlog.cli.verb import Verb
from binlog.clock import SystemClock
from binlog.errors import (
    BinlogError,
    NotSentError,
    RefusedError,
    StorageError,
    UnknownOutcomeError,
)
from binlog.input import InputBatch, InputFormat, InputLines
from binlog.json_values import encode_json
from binlog.producer import Delivery, Outcome, Producer, ProducerOptions

READ_BYTES = 256 * 1024
CLOSE_S = 5.0


@click.command(
    cls=Verb,
    role="producer",
    examples="""
    echo '{"id": "ann", "n": 1}' | binlog append file:log --table users --key id
    binlog append file:log changes.jsonl --table users --key id > acknowledged.jsonl
    echo '{"Action": "DeleteItem", "Table": "users", "Key": {"id": "ann"}}' | binlog append file:log
    tail -F app.jsonl | binlog append file:log --format actions
    """,
)
@log_argument
@click.argument("file", type=click.File("rb"), default="-")
@line_options
@click.option(
    "--format",
    "input_format",
    type=click.Choice(["actions", "items", "dynamodb"]),
    default="actions",
    show_default=True,
    help="actions: a line without Action is an item; items: every line is one; dynamodb: as"
    ' actions, with typed values such as {"S": "text"} in Key, Data and Meta.',
)
@click.option(
    "--id-window",
    is_flag=True,
    help="Let readers drop an event that has the Id and content of a recent one: for input that"
    " is appended again after a failure.",
)
@json_option
def command(
    *,
    log: str,
    file: BinaryIO,
    table: str | None,
    keys: tuple[str, ...] | None,
    input_format: InputFormat,
    id_window: bool,
    as_json: bool,  # noqa: ARG001 (the answer is JSON Lines in any case)
) -> None:
    """Append events from FILE, or standard input, to LOG.

    Input is JSON Lines: actions, or items to put. Each event that is durable is printed as a
    line, in the order of acknowledgement, while the input is still open:

    \b
    {"line": 17, "id": "..", "partition": 3, "session": "..", "number": 12}

    Exit status 0 means that every line was acknowledged. A refused line ends the run with status
    2: every line before it is in the log, none after it.
    """  # noqa: D301 (click's mark for a block to be left as it is)
    clock = SystemClock()
    lines = InputLines(input_format=input_format, table=table, key_names=keys, now_ms=clock.now_ms)
    began = time.monotonic()
    with contextlib.closing(open_log(log)) as opened:
        if file.isatty():
            note("reading from the terminal, a line an event; Ctrl-D ends")
        acknowledger = Acknowledger(stdout(), log)
        producer = Producer(opened, options=ProducerOptions(id_window=id_window))
        try:
            acknowledger.run(file, lines, producer)
        finally:
            # Also after Ctrl-C: what was read is on its way, and its outcome is worth a moment.
            producer.close(CLOSE_S)
            acknowledger.close()
    if sys.stderr.isatty():
        took = time.monotonic() - began
        events = "event" if acknowledger.count == 1 else "events"
        note(f"{acknowledger.count:,} {events} acknowledged in {took:.1f} s")
    acknowledger.raise_trouble()


class Acknowledger:
    """Moves lines to a producer, and outcomes to standard output."""

    def __init__(self, out: BinaryIO, log: str) -> None:
        self.count = 0  # acknowledged
        self._log = log
        self._out = out
        self._open = 0  # published, outcome not yet written
        self._outcomes: deque[tuple[InputBatch, Delivery]] = deque()
        self._refused: BinlogError | None = None
        self._lost: dict[Outcome, _Lost] = {}
        # Written to by whichever thread brings an outcome, to wake the one that waits for input.
        self._wake_in, self._wake_out = os.pipe()
        os.set_blocking(self._wake_out, False)

    def run(self, file: BinaryIO, lines: InputLines, producer: Producer) -> None:
        """Until the input ends, a line is refused, or an event is not acknowledged."""
        for data in self._pieces(file):
            batch = lines.take(data) if data else lines.finish()
            if batch.envelopes:
                self._open += len(batch.envelopes)
                producer.publish_many(batch.envelopes, on_delivery=partial(self._deliver, batch))
            self._refused = batch.refused
            if self._refused or self._lost:
                break
        while self._open:
            self._wait_for_outcomes()

    def close(self) -> None:
        """Write the outcomes that came with the producer's end."""
        self._write()
        os.close(self._wake_in)
        os.close(self._wake_out)

    def raise_trouble(self) -> None:
        """Raise why not every line is acknowledged, if so: the worst reason of them.

        Raises:
            UnknownOutcomeError, NotSentError, RefusedError: in this order.
        """
        for outcome in (Outcome.UNKNOWN, Outcome.FAILED):
            if outcome in self._lost:
                raise self._lost[outcome].error(outcome)
        if (refused := self._refused) is not None:
            mend = f"{refused.do}; then" if refused.do else "mend it and"
            do = f"{mend} append again from this line on, those before it are in"
            raise type(refused)(refused.what, refused.where, do, **refused.details) from refused

    # -- input -----------------------------------------------------------------------------------

    def _pieces(self, file: BinaryIO) -> Iterator[bytes]:
        """What can be read, as soon as it can; an empty piece at the end."""
        try:
            descriptor = file.fileno()
        except OSError:  # no file of the system's: a test's
            yield file.read()
            yield b""
            return
        data = b"."
        while data:
            readable, _, _ = select.select([descriptor, self._wake_in], [], [])
            if self._wake_in in readable:
                self._wait_for_outcomes()
            if self._lost:
                return
            if descriptor in readable:
                data = os.read(descriptor, READ_BYTES)
                yield data

    # -- outcomes --------------------------------------------------------------------------------

    def _deliver(self, batch: InputBatch, delivery: Delivery) -> None:
        self._outcomes.append((batch, delivery))
        with contextlib.suppress(BlockingIOError):  # a full pipe wakes as well
            os.write(self._wake_out, b".")

    def _wait_for_outcomes(self) -> None:
        os.read(self._wake_in, 65_536)
        self._write()

    def _write(self) -> None:
        pieces: list[str] = []
        while self._outcomes:
            batch, delivery = self._outcomes.popleft()
            self._open -= len(delivery.indexes)
            if delivery.outcome is Outcome.ACKNOWLEDGED:
                self._acknowledge(batch, delivery, pieces)
            else:
                self._lament(batch, delivery, pieces)
        if pieces:
            self._out.write(json_lines("".join(pieces).encode()))
            self._out.flush()

    def _acknowledge(self, batch: InputBatch, delivery: Delivery, pieces: list[str]) -> None:
        lines, envelopes = batch.lines, batch.envelopes
        session = f'"partition":{delivery.partition},"session":"{delivery.session}"'
        # Spelt out: this runs for each event, and only an id needs quoting.
        pieces += [
            f'{{"line":{lines[index]},"id":{encode_basestring(envelopes[index].id)},'
            f'{session},"number":{number}}}\n'
            for number, index in enumerate(delivery.indexes, delivery.first)
        ]
        self.count += len(delivery.indexes)

    def _lament(self, batch: InputBatch, delivery: Delivery, pieces: list[str]) -> None:
        cause = advised(_root_cause(delivery.error), "producer", {"log": self._log})
        first = batch.lines[delivery.indexes[0]]
        lost = self._lost.setdefault(delivery.outcome, _Lost(first, cause))
        lost.line = min(lost.line, first)
        lost.count += len(delivery.indexes)
        for index in delivery.indexes:
            document = {
                "line": batch.lines[index],
                "id": batch.envelopes[index].id,
                "outcome": delivery.outcome.value,
                "error": str(cause),
            }
            pieces.append(encode_json(document).decode() + "\n")


def _root_cause(error: BaseException | None) -> BinlogError:
    """What went wrong in the log; the producer's own error says what that means for an event."""
    while error is not None and isinstance(error.__cause__, BinlogError):
        error = error.__cause__
    return error if isinstance(error, BinlogError) else StorageError("no reason is known")


@dataclass
class _Lost:
    """Events that met the same fate, which is not the log."""

    line: int
    cause: BinlogError
    count: int = 0

    def error(self, outcome: Outcome) -> BinlogError:
        events = "an event" if self.count == 1 else f"{self.count} events"
        where = f"{self.cause.where}, from line {self.line} on".removeprefix(", ")
        do = f"{self.cause.do}; then ".removeprefix("; then ")
        if outcome is Outcome.UNKNOWN:
            return UnknownOutcomeError(
                f"{events} may or may not be in the log, {self.cause.what}",
                where,
                f"{do}append what is not acknowledged again, with --id-window and its Id",
            )
        # What was not permitted, say, is bad input whichever call met it.
        kind = RefusedError if self.cause.exit_status == RefusedError.exit_status else NotSentError
        return kind(
            f"{events} not written, {self.cause.what}",
            where,
            f"{do}append what is not acknowledged again",
        )
