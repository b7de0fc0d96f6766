"""Object stores behind the `binlog.objects.objects.Objects` protocol, one file a technology."""

from binlog.objects.address import open_objects
from binlog.objects.directory import DirectoryObjects
from binlog.objects.memory import MemoryObjects
from binlog.objects.objects import Entry, Objects

__all__ = ["DirectoryObjects", "Entry", "MemoryObjects", "Objects", "open_objects"]
