"""The logs behind the `binlog.log.Log` protocol, one file or family of files a technology."""

from binlog.logs.chaos import Chaos, Fate, Ghost
from binlog.logs.directory import DirectoryLog
from binlog.logs.directory_genesis import create_directory_log
from binlog.logs.memory import MemoryLog

__all__ = ["Chaos", "DirectoryLog", "Fate", "Ghost", "MemoryLog", "create_directory_log"]
