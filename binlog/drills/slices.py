"""Values by key that need not fit into memory: slice by slice, each with all values of its keys."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import ExitStack
from tempfile import TemporaryFile
from types import TracebackType
from typing import IO, Generic, Self, TypeVar
from zlib import crc32

_T = TypeVar("_T")
VALUES = 25_000  # of a slice, about
_CHUNK = 256
_BUFFER_BYTES = 1 << 16
_SLICES_MAX = 256  # an open file each


class Slices(Generic[_T]):
    """Of about ``values`` in all; a single slice stays in memory.

    Several are files without a name, which are gone with the process, however that ends.
    """

    def __init__(self, values: int) -> None:
        self.count = min(1 + values // VALUES, _SLICES_MAX)
        self._buffers: list[list[_T]] = [[] for _ in range(self.count)]
        self._files: list[IO[bytes]] = []
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        if self.count > 1:
            for _ in range(self.count):
                file = TemporaryFile(buffering=_BUFFER_BYTES)
                self._files.append(self._stack.enter_context(file))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """What is in files is gone."""
        self._stack.close()

    def put(self, key: str, value: _T) -> None:
        """Values of a key come back in the order in which they are put."""
        number = crc32(key.encode()) % self.count if self.count > 1 else 0
        buffer = self._buffers[number]
        buffer.append(value)
        if self._files and len(buffer) >= _CHUNK:
            pickle.dump(buffer, self._files[number], pickle.HIGHEST_PROTOCOL)
            buffer.clear()

    def slice(self, number: int) -> Iterator[_T]:
        """All values of that slice, as often as wanted; nothing is put any more then."""
        if self._files:
            file = self._files[number]
            file.seek(0)
            while True:
                try:
                    yield from pickle.load(file)  # noqa: S301 - written above, by this process
                except EOFError:
                    break
        yield from self._buffers[number]
