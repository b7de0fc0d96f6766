"""``--rate``, ``--rate-of`` and ``--max-behind``: how fast a consumer goes."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import click

from binlog.cli.options import DurationType, RateType

_F = TypeVar("_F", bound=Callable[..., Any])


def pace_options(function: _F) -> _F:
    """The three options, given to the verb as one ``setting`` (`consumers.pace.Setting`)."""

    @functools.wraps(function)
    def with_setting(
        *args: Any, rate: float | None, rate_of: str, max_behind: int | None, **more: Any
    ) -> Any:
        from consumers.pace import Setting

        max_behind_s = None if max_behind is None else max_behind / 1000
        if max_behind_s == 0:
            raise click.BadParameter("0: write a length of time above it", param_hint="max-behind")
        setting = Setting(rate, rate_of, max_behind_s)  # type: ignore[arg-type]  # click's choice
        return function(*args, setting=setting, **more)

    options = (
        click.option("--rate", type=RateType(), metavar="N", help="At most N items a second."),
        click.option(
            "--rate-of",
            type=click.Choice(["items", "events"]),
            default="items",
            show_default=True,
            help="What --rate counts: items written, of which a batch writes each once, or events.",
        ),
        click.option(
            "--max-behind",
            type=DurationType(),
            metavar="TIME",
            help="As slow as can be without being further behind than that, such as 12h; at most"
            " half of what the log keeps.",
        ),
    )
    for option in reversed(options):
        with_setting = option(with_setting)
    return with_setting  # type: ignore[return-value]  # less the three, and what it is called with
