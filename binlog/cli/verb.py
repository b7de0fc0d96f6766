"""The class of every verb: its help ends with examples, and it takes ``--debug`` too."""

from __future__ import annotations

from inspect import cleandoc
from typing import Any

import click


class Verb(click.Command):
    """A command with ``examples``: lines that a person can paste, printed as they stand."""

    def __init__(self, *args: Any, examples: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = cleandoc(examples)
        self.params.append(
            click.Option(
                ["--debug"],
                is_flag=True,
                expose_value=False,  # `binlog.cli.errors` looks for it in the arguments
                help="Show the trace of an error, too.",
            )
        )

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Examples"):
            for line in self.examples.splitlines():
                formatter.write(f"  {line}\n" if line else "\n")
