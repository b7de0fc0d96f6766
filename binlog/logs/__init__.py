"""The logs behind the `binlog.log.Log` protocol, one file or family of files a technology."""

from binlog.logs.chaos import Chaos, Fate, Ghost
from binlog.logs.memory import MemoryLog

__all__ = ["Chaos", "Fate", "Ghost", "MemoryLog"]
