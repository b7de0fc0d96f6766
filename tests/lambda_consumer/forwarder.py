"""A TCP way between a client and a server, on loopback, that forgets the connections it has."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Literal
from urllib.parse import urlsplit

_AT_ONCE = struct.pack("ii", 1, 0)  # SO_LINGER: a reset instead of an orderly end


_Pair = tuple[socket.socket, socket.socket]


class Forwarder:
    """Connections to ``url`` go to ``target``, as long as nobody cuts them."""

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        assert parts.hostname is not None
        assert parts.port is not None
        self._target = parts.hostname, parts.port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.made = 0
        self._open: list[_Pair] = []
        self._silent: list[_Pair] = []
        self._carrying: list[threading.Thread] = []

    def cut(self, how: Literal["reset", "silent"]) -> int:
        """All connections of now are dead, with a word or without; how many there were."""
        pairs, self._open = self._open, []
        for pair in pairs:
            if how == "reset":
                _reset(pair)
            else:  # what comes is lost, as behind a NAT that has forgotten
                self._silent.append(pair)
        return len(pairs)

    @contextlib.contextmanager
    def running(self) -> Iterator[Forwarder]:
        thread = threading.Thread(target=self._accept, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            thread.join()
            for pair in (*self._open, *self._silent):
                _reset(pair)
            for each in self._carrying:
                each.join()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._target)
            self.made += 1
            pair = client, server
            self._open.append(pair)
            for one, other in (pair, pair[::-1]):
                thread = threading.Thread(target=self._carry, args=(one, other, pair))
                self._carrying.append(thread)
                thread.start()

    def _carry(self, one: socket.socket, other: socket.socket, pair: _Pair) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(65_536):
                if pair not in self._silent:
                    other.sendall(data)
            if pair not in self._silent:
                other.shutdown(socket.SHUT_WR)


def _reset(pair: _Pair) -> None:
    for each in pair:
        with contextlib.suppress(OSError):
            each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
            each.shutdown(socket.SHUT_RDWR)  # whoever waits for it in `recv` hears of it
        each.close()
