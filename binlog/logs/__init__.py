"""The logs behind the `binlog.log.Log` protocol, one file or family of files a technology."""

from binlog.logs.chaos import Chaos, Fate, Ghost
from binlog.logs.directory import DirectoryLog
from binlog.logs.directory_check import Finding, check_directory_log
from binlog.logs.directory_genesis import create_directory_log
from binlog.logs.memory import MemoryLog

__all__ = [
    "Chaos",
    "DirectoryLog",
    "Fate",
    "Finding",
    "Ghost",
    "MemoryLog",
    "check_directory_log",
    "create_directory_log",
]
