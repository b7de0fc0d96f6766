"""From events to acknowledged frames: a state machine, and the threads around it."""

from __future__ import annotations

from binlog.producer.core import ProducerCore, Send
from binlog.producer.invocation import Invocation, LambdaProducer
from binlog.producer.options import ProducerOptions
from binlog.producer.outcome import Ack, Acks, Delivery, Frame, Outcome
from binlog.producer.resolve import Resolved, Verdict, resolve
from binlog.producer.session import Lineage
from binlog.producer.shell import Producer

__all__ = [
    "Ack",
    "Acks",
    "Delivery",
    "Frame",
    "Invocation",
    "LambdaProducer",
    "Lineage",
    "Outcome",
    "Producer",
    "ProducerCore",
    "ProducerOptions",
    "Resolved",
    "Send",
    "Verdict",
    "resolve",
]
