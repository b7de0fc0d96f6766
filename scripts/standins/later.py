"""Kinesalite on a clock that may be set ahead while it runs: what is older than a day is forgotten then."""

from __future__ import annotations

from pathlib import Path

from scripts.standins.services import Kinesalite, Start

HOUR_MS = 3_600_000


class LaterKinesalite(Kinesalite):
    """Its clock is ahead by the milliseconds in a file, which may be written at any time."""

    def __init__(self, ahead: Path) -> None:
        self._ahead = ahead

    def start(self, ports: list[int], data: Path) -> Start:
        plain = super().start(ports, data)
        node, *rest = plain.command
        command = [node, "-r", str(Path(__file__).with_name("later.js")), *rest]
        return Start(command, {**plain.environment, "BINLOG_LATER": str(self._ahead)}, plain.folder)
