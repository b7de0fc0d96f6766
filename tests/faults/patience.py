"""Clients that give up where nobody is going to answer, and nowhere else.

A time-out cannot tell a call that gets no reply from one whose reply is under way on a machine that
has other things to do. So clients here have a time-out that nothing meets but what hangs; and
where the proxy has let a call fall silent, or the service is away, its client runs into
that time-out after `SILENCE_S`.
"""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from botocore.awsrequest import AWSHTTPConnection

from scripts.standins.proxy import SILENT

TIMEOUT_S = 60.0  # of what must come
SILENCE_S = 0.4  # of what does not
_LOOK_MS = 10
_lock = threading.Lock()
_away = 0


def give_up_in_silence(patch: Callable[[object, str, object], object] = setattr) -> None:
    """Let all clients of this process do so."""
    wait_for_reply = AWSHTTPConnection.getresponse

    def getresponse(connection: Any, *args: Any, **options: Any) -> Any:
        if isinstance(connection.sock, socket.socket):
            _wait(connection.sock)
        return wait_for_reply(connection, *args, **options)

    patch(AWSHTTPConnection, "getresponse", getresponse)


@contextmanager
def away() -> Iterator[None]:
    """A service does not answer, whoever asks."""
    global _away  # noqa: PLW0603 - of this process, as its clients are
    with _lock:
        _away += 1
    try:
        yield
    finally:
        with _lock:
            _away -= 1


def _wait(sock: socket.socket) -> None:
    """Until there is something to read, or for so long that the caller's own time-out has its say.

    Raises:
        TimeoutError: nothing is going to come.
    """
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    connection = sock.getsockname(), sock.getpeername()
    end = time.monotonic() + TIMEOUT_S
    silent_since: float | None = None
    while not poll.poll(_LOOK_MS) and (now := time.monotonic()) < end:
        if not _away and connection not in SILENT:
            silent_since = None
        elif silent_since is None:
            silent_since = now
        elif now - silent_since >= SILENCE_S:
            raise TimeoutError("silence")
