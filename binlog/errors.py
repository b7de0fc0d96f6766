"""Every error a user of this project can meet, grouped by whose action mends it.

An error says what happened, where, and what to do next; ``str(error)`` is those three joined by
``": "`` on one line, which is exactly what the command prints after ``binlog: ``. Every value in
the message is an attribute too (``error.partition``, ``error.offset`` ...), set from the keyword
arguments.

Groups, in the order in which one meets them:

* refused input (`RefusedError`, `TooLargeError`, `ConflictError`): nothing was written;
* the wrong thing was named (`MismatchError`, `NoLogError`): a log, a store or rules that do not
  belong together, which may show only when something was written;
* trouble around us that a later try may pass (`BusyError`, `StorageError`);
* the log or a store says stop (`DamageError`, `TrimmedError`, `UpgradeError`, `HaltedError`,
  `PoisonError`): a retry changes nothing, a person has to decide;
* what a producer cannot know (`UnknownOutcomeError`) or did not do (`NotSentError`).

The first two groups are bad input, exit status 2 whichever verb meets them: other arguments, other
lines, or a policy that grants what a service denies are the remedy. All others are failures, status
3: the arguments may stay as they are. A file or directory that may not be read or written is one of
those, of a log, a store or objects alike, as a full disk is: it is this machine that has to be mended.
"""

from __future__ import annotations


class BinlogError(Exception):
    """Root of all errors that this project raises on purpose.

    ``retriable`` says whether the same call may succeed later without anybody's doing;
    ``exit_status`` is what the command exits with (2 usage or bad input, 3 failure).
    """

    retriable = False
    exit_status = 3

    def __init__(self, what: str, where: str = "", do: str = "", **details: object) -> None:
        self.what = what
        self.where = where
        self.do = do
        self.details = details
        for name, value in details.items():
            setattr(self, name, value)
        super().__init__(": ".join(part for part in (what, where, do) if part))

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle by parts, so that a worker process can raise through a pool."""
        return _rebuild, (type(self), self.what, self.where, self.do, self.details)

    def __getattr__(self, name: str) -> object:
        """Only reached for details that were not given."""
        raise AttributeError(f"{type(self).__name__} carries no {name!r}")


def _rebuild(
    kind: type[BinlogError], what: str, where: str, do: str, details: dict[str, object]
) -> BinlogError:
    return kind(what, where, do, **details)


# -- refused before anything was written ---------------------------------------------------------


class RefusedError(BinlogError):
    """The input breaks a rule; mend the input. Nothing of it was written."""

    exit_status = 2


class TooLargeError(RefusedError):
    """An item, key, event or frame is above a limit; the message gives size and limit."""


class ConflictError(RefusedError):
    """What was asked for disagrees with what exists (other parameters, another vector)."""


# -- the wrong thing was named -------------------------------------------------------------------


class MismatchError(BinlogError):
    """A log, store or generation belongs to other parameters, another log or another code."""

    exit_status = 2


class NoLogError(MismatchError):
    """Something is there, and no log is in it: name another place, or make one in it."""


# -- a later try may pass ------------------------------------------------------------------------


class BusyError(BinlogError):
    """Somebody else holds a lock that was waited for; try again when they are done."""

    retriable = True


class StorageError(BinlogError):
    """The operating system refused a write or read (disk full, read-only, gone)."""

    retriable = True


# -- a person has to decide ----------------------------------------------------------------------


class DamageError(BinlogError):
    """Bytes that were once durable are not what they were. Restore them, or rebuild from a copy."""


class TrimmedError(BinlogError):
    """The stream has forgotten what comes after a position; an archive or a snapshot has not."""


class UpgradeError(BinlogError):
    """Written by a newer version than this code reads; upgrade this code."""


class HaltedError(BinlogError):
    """A partition is halted by a rule of the sequencer; ``binlog resolve`` decides."""


class SpentError(BinlogError):
    """What a verb may consume of a service is consumed. What it did stays, or was never seen."""


class PoisonError(BinlogError):
    """An event that no applier can apply, for a reason found in the event and the item alone."""


# -- what became of a published event ------------------------------------------------------------


class UnknownOutcomeError(BinlogError):
    """Sent, but whether it is in the log cannot be known yet; ask `Producer.resolve`."""


class NotSentError(BinlogError):
    """Never tried: certainly not in the log. It may be published again."""

    retriable = True


# -- between two writers -------------------------------------------------------------------------


class LostError(BinlogError):
    """Somebody else moved the checkpoint or replaced the generation; read again, start over."""

    retriable = True
