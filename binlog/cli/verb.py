"""The class of every verb: its help ends with examples, and it takes ``--debug`` too.

Its errors advise what can be pasted (`binlog.cli.advice`).
"""

from __future__ import annotations

from inspect import cleandoc
from typing import TYPE_CHECKING, Any

import click

from binlog.cli.advice import advised
from binlog.errors import BinlogError

if TYPE_CHECKING:
    from binlog.aws.policies import Role


class Verb(click.Command):
    """A command with ``examples``: lines that a person can paste, printed as they stand.

    ``role`` is whose work it does, as `binlog policy` names them; ``None`` if nobody's in an account.
    """

    def __init__(
        self, *args: Any, examples: str, role: Role | None = "reader", **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.role = role
        self.examples = cleandoc(examples)
        self.params.append(
            click.Option(
                ["--debug"],
                is_flag=True,
                expose_value=False,  # `binlog.cli.errors` looks for it in the arguments
                help="Show the trace of an error, too.",
            )
        )

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BinlogError as error:
            better = advised(error, self.role, ctx.params)
            if better is error:
                raise
            raise better from error

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Examples"):
            for line in self.examples.splitlines():
                formatter.write(f"  {line}\n" if line else "\n")
