"""What a log says of the snapshots that are thinned."""

from __future__ import annotations

from collections.abc import Sequence

from binlog.errors import MismatchError, TrimmedError
from binlog.log import Log
from binlog.objects.objects import Objects
from snapshots.snapshot_manifest import Manifest
from snapshots.starting import LogFacts, check_beginning


class RetentionFacts:
    """A log, its archive included. Some reads for each snapshot that is asked about."""

    def __init__(self, log: Log, objects: Objects, manifests: Sequence[Manifest]) -> None:
        """Raises `MismatchError`: there are snapshots of another log."""
        for manifest in manifests:
            if manifest.genesis != log.genesis:
                raise MismatchError(
                    f"snapshot {manifest.id} is of log {manifest.log_id}, the log given is"
                    f" {log.params.log_id}",
                    f"{objects.name} and {log.name}",
                    "name the log that they are of",
                )
        self._log = log
        self._facts = LogFacts(log, objects)

    def has_beginning(self) -> bool:
        """Whether it can be read from its first record on."""
        try:
            check_beginning(self._log)
        except TrimmedError:
            return False
        return True

    def unfollowed(self, manifest: Manifest) -> str | None:
        """Why it cannot be read on from a snapshot; ``None``: it can."""
        return self._facts.unfollowed(manifest)
