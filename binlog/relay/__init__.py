"""Bringing in what others wrote: records of another stream, or foreign ones, as events of a log.

See `binlog.relay.relay` for why each record becomes its events exactly once, whatever crashes and
however many relays somebody starts by mistake, and docs/relay.md for whoever uses it.
"""

from binlog.relay.convert import Convert, PayloadFormat, make_convert
from binlog.relay.inbox import ForeignInbox, Inbound, Inbox, LogInbox
from binlog.relay.relay import Relay, Report

__all__ = [
    "Convert",
    "ForeignInbox",
    "Inbound",
    "Inbox",
    "LogInbox",
    "PayloadFormat",
    "Relay",
    "Report",
    "make_convert",
]
