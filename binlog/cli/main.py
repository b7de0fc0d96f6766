"""The command ``binlog``: which verbs there are, and nothing of what they do.

A verb is a file ``binlog/cli/<verb>.py`` with an object ``command``, made by
``@click.command(cls=Verb, examples=...)`` (see `binlog.cli.verb`). It is imported when it is run
or asked for its help, so that ``binlog --help`` stays below 0.3 s: neither this file nor `errors`
imports a library of a service, rich, or a verb. For the same reason the one-line texts stand here.

A verb's callback returns nothing for exit status 0 and calls ``context.exit(1)`` where the answer
is "no"; whatever else goes wrong it raises, and `binlog.cli.errors` makes the line and the status.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

import click

from binlog.cli.errors import run

COMPLETION = "_BINLOG_COMPLETE"  # set by the shell's completion; click writes the scripts

# In the order in which one meets them; the keys are file names, too.
SECTIONS: dict[str, dict[str, str]] = {
    "Log": {
        "init": "Make a log and pin its parameters.",
        "append": "Append events from JSON Lines; print each once it is durable.",
        "cat": "Print the events of a log, by partition and offset.",
        "relay": "Bring in records of another stream, or foreign ones, as events.",
        "archive": "Keep what a log will forget in immutable segments, once or for ever.",
        "adopt": "Take in a table that is full, with its items as what it begins with.",
    },
    "Replicas": {
        "rebuild": "Build tables anew from the log, in place in one step.",
        "replicate": "Carry a store forward from its checkpoint.",
        "pace": "Set how fast a store's consumers go, while they run.",
        "kcl": "Do so with the Kinesis Client Library, by workers that share the shards.",
        "snapshot": "Keep what a store holds, while others go on writing to it.",
        "snapshots": "List, check or thin out the snapshots that there are.",
        "restore": "Bring a snapshot back into a store, in place in one step.",
        "dump": "Print the items of a table.",
        "digest": "Print vector, counts and digest of each table.",
        "verify": "Compare two replicas, or a replica with its log.",
        "diff": "Tell what changed between two moments, per key and attribute.",
        "blame": "List the events that made an item what it is, attribute by attribute.",
        "parked": "List the keys that wait behind an event that could not be applied.",
        "redrive": "Put the events that wait back in order, once the applier is mended.",
    },
    "Operation": {
        "status": "Print how far a log and a store are, partition by partition.",
        "check": "Walk log and store and report every broken invariant.",
        "audit": "Hold the checkpoints of stores against what an archive gives there.",
        "halted": "List the partitions that a rule has stopped.",
        "resolve": "Decide what becomes of a record that stopped one.",
        "doctor": "Look at credentials, permissions, limits, budgets and clocks.",
        "drill": "Rehearse disasters: recover by the runbook, and judge what came of it.",
        "policy": "Print the IAM policy that a role needs on a log and a store.",
    },
    "Code": {
        "schema": "Lock the schemas of your events, and check code against the lock.",
    },
}
VERBS = {verb: text for section in SECTIONS.values() for verb, text in section.items()}


class Verbs(click.Group):
    """A group that imports a verb when it is wanted, and answers errors in one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (click's signature)
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in VERBS:
            return None
        command: click.Command = import_module(f"binlog.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        width = max(map(len, VERBS))
        for section, verbs in SECTIONS.items():
            with formatter.section(section):
                formatter.write_dl([(verb.ljust(width), text) for verb, text in verbs.items()])

    def main(  # type: ignore[override]  # always ends the process
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> NoReturn:
        # Not click's own, which ends a broken pipe with 1 and other errors with a trace. Here, and
        # not in `main` below, so that tests that invoke the group see what users see.
        if COMPLETION in os.environ:
            super().main(args, prog_name=prog_name, complete_var=COMPLETION)
        extra.pop("standalone_mode", None)

        def call(argv: list[str]) -> object:
            with self.make_context(prog_name or "binlog", argv, **extra) as context:
                return self.invoke(context)

        raise SystemExit(run(call, sys.argv[1:] if args is None else list(args)))


@click.group(
    cls=Verbs,
    context_settings={"help_option_names": ["-h", "--help"]},
    invoke_without_command=True,
)
@click.version_option(package_name="kinesis-binlog", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, expose_value=False, help="Show the trace of an error, too.")
@click.pass_context
def cli(context: click.Context) -> None:
    """A binary log with dense offsets per partition, and replicas that are identical.

    LOG is an address, file:DIR or kinesis://STREAM; STORE is sqlite:FILE, dynamodb://PREFIX or
    memory:. The answer goes to standard output, everything else to standard error. Exit status: 0
    done, 1 the answer is "no", 2 usage or bad input, 3 failure.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
    elif {"BINLOG_LOG_FORMAT", "BINLOG_LOG_LEVEL"} & os.environ.keys():
        from binlog.logger import show_on_stderr

        show_on_stderr(os.environ)


def main() -> None:
    """Entry point of the command."""
    if "DRILL_SPENT_FILE" in os.environ:  # who started it counts what it reads
        import_module("binlog.spent").begin()
    cli.main(prog_name="binlog")
