"""The archive: what a stream forgets, kept in immutable segments, one chain a partition."""

from __future__ import annotations

from binlog.archive.archive import Archive, is_archive
from binlog.archive.chain import Chain
from binlog.archive.cutter import Cut, Cutter
from binlog.archive.segment_info import BlockInfo, Outline, SegmentInfo

__all__ = [
    "Archive",
    "BlockInfo",
    "Chain",
    "Cut",
    "Cutter",
    "Outline",
    "SegmentInfo",
    "is_archive",
]
