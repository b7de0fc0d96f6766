"""Two clients of one service: the one that puts, which makes one attempt a call, and the other.

Both are made where they are first used, and anew in a forked child: connections are not shared.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

Connect = Callable[[bool], Any]
"""Makes a client; given whether it is the one that puts."""


class Clients:
    """The two clients of one address in this process. Any thread may ask."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._lock = threading.Lock()
        self._pid = 0
        self._made: dict[bool, Any] = {}

    @property
    def puts(self) -> Any:
        return self._get(puts=True)

    @property
    def calls(self) -> Any:
        return self._get(puts=False)

    def _get(self, *, puts: bool) -> Any:
        if self._pid == os.getpid() and (made := self._made.get(puts)) is not None:
            return made
        if self._pid != os.getpid():  # the lock may have been held when the parent forked
            self._lock = threading.Lock()
            self._made, self._pid = {}, os.getpid()
        with self._lock:
            if puts not in self._made:
                self._made[puts] = self._connect(puts)
            return self._made[puts]

    def close(self) -> None:
        """Close the connections of this process."""
        if self._pid == os.getpid():
            with self._lock:
                for client in self._made.values():
                    client.close()
