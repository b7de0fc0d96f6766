"""``python -m consumers.kcl``: the process of one shard, which KCL's MultiLangDaemon starts.

Descriptor 1 is the protocol's, one line of JSON a message, and whatever else is written to it the
daemon cannot read: it is put aside before anything else is done, and what prints goes to standard
error, which the daemon logs as errors. Our own log is a file of the worker's folder.

It ends when the daemon closes the pipe. SIGINT and SIGTERM are ignored: they come to a whole group,
or from somebody who means the daemon, and that tells its processes to end, in order.
"""

from __future__ import annotations

import os
import sys


def take_pipes() -> tuple[int, int]:
    """The descriptors of the daemon's messages and of our answers, for nobody but us."""
    messages, answers = os.dup(0), os.dup(1)  # not inherited by processes that appliers may start
    nowhere = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nowhere, 0)
    os.close(nowhere)
    os.dup2(2, 1)
    return messages, answers


def main() -> int:
    """Be one shard's process; the exit status."""
    messages, answers = take_pipes()

    from consumers.kcl_child import run_child  # not before: an import may print

    return run_child(messages, answers)


if __name__ == "__main__":
    sys.exit(main())
