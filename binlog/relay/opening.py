"""From an address to an inbox: another stream, another log, or the log itself."""

from __future__ import annotations

from binlog.address import Named, open_log, parse_address
from binlog.errors import NoLogError, RefusedError
from binlog.log import Log
from binlog.relay.inbox import ForeignInbox, Inbox, LogInbox


def open_inbox(url: str, log: Log, *, accept_loss: bool = False) -> Inbox:
    """The inbox at an address; its caller closes it.

    Where ``log`` itself is there, its foreign records are the inbox; another log's events are, what
    it has forgotten with them, if it names its archive.

    Raises:
        RefusedError: nothing that can be relayed is there.
        MismatchError, DamageError, StorageError: as `binlog.address.open_log`.
    """
    address = parse_address(url)
    if address.scheme not in ("file", "kinesis"):
        raise RefusedError(f"{url!r} is no inbox", do="write kinesis://STREAM or file:DIR")
    try:
        found = open_log(url, named=Named(from_beginning=True))
    except NoLogError:  # a log that was made halfway is another mismatch, and none to relay from
        if address.scheme != "kinesis":
            raise
        return _stream(url, accept_loss=accept_loss)
    if found.params.log_id != log.params.log_id:
        return LogInbox(found)
    found.close()
    return ForeignInbox(log)


def _stream(url: str, *, accept_loss: bool) -> Inbox:
    from binlog.logs.kinesis import READS_PER_S, kinesis_service
    from binlog.relay.kinesis_inbox import StreamInbox

    address = parse_address(url)
    service = kinesis_service(address.path, account=address.account)
    try:
        return StreamInbox(
            service, reads_per_s=address.reads or READS_PER_S, accept_loss=accept_loss
        )
    except BaseException:
        service.clients.close()
        raise
