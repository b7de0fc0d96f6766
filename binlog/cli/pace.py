"""``binlog pace``: how fast the consumers of a store go, set while they run."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import click

from binlog.cli.options import length_text, store_argument
from binlog.cli.output import json_option, write_json, write_text
from binlog.cli.pace_options import pace_options
from binlog.cli.verb import Verb

if TYPE_CHECKING:
    from appliers.store import Adjustable
    from consumers.pace import Setting


@click.command(
    cls=Verb,
    role="applier",
    examples="""
    binlog pace sqlite:replica.db
    binlog pace sqlite:replica.db --rate 500
    binlog pace dynamodb://copy --max-behind 12h --log kinesis://orders
    binlog pace dynamodb://copy --rate 2000 --rate-of events --max-behind 6h
    binlog pace dynamodb://copy --clear
    """,
)
@store_argument()
@pace_options
@click.option("--clear", is_flag=True, help="Set nothing: each goes by what it was started with.")
@click.option(
    "--log",
    metavar="LOG",
    help="The log that they follow: --max-behind is refused beyond half of what it keeps. Without it"
    " they see to that by themselves, and go by the half.",
)
@json_option
def command(*, store: str, setting: Setting, clear: bool, log: str | None, as_json: bool) -> None:
    """Print how fast the consumers of STORE are to go, or set it.

    What is set is for all of them together, `binlog replicate` or the workers of `binlog kcl`: each
    takes its share, finds it within half a minute, and goes by it instead of the options that it was
    started with. What is not given is not set. A Lambda function applies at once, whatever is set.
    """
    if clear and not setting.is_free:
        raise click.UsageError("--clear sets nothing, and something is given to be set")
    from appliers.address import open_store
    from consumers.pacer import read_setting, write_setting

    with contextlib.closing(open_store(store, must_exist=True)) as opened:
        kept = _adjustable(opened)
        if setting.max_behind_s is not None and log is not None:
            _check_distance(setting.max_behind_s, log)
        if clear or not setting.is_free:
            write_setting(kept, None if clear else setting)
        found = read_setting(opened, store)
    if as_json:
        write_json({"pace": None if found is None else setting_document(found)})
    else:
        write_text(setting_text(found))


def setting_document(setting: Setting) -> dict[str, Any]:
    """A setting as JSON prints it."""
    return {
        "rate": setting.rate,
        "rate_of": setting.unit,
        "max_behind_seconds": setting.max_behind_s,
    }


def setting_text(setting: Setting | None) -> str:
    """A setting in words."""
    if setting is None:
        return "nothing is set: each goes by what it was started with"
    said = []
    if setting.rate is not None:
        said.append(f"at most {setting.rate:,g} {setting.unit} a second")
    if setting.max_behind_s is not None:
        said.append(f"as slow as can be without being {length_text(setting.max_behind_s)} behind")
    return ", ".join(said) or "as fast as can be"


def _adjustable(opened: Any) -> Adjustable:
    from appliers.store import Adjustable
    from binlog.errors import RefusedError

    if not isinstance(opened, Adjustable):
        raise RefusedError("this kind of store keeps no pace", opened.name, "start them anew")
    return opened


def _check_distance(max_behind_s: float, log: str) -> None:
    from binlog.address import open_log
    from consumers.pace import check_distance
    from consumers.pacer import retention_of

    with contextlib.closing(open_log(log)) as opened:
        check_distance(max_behind_s, retention_of(opened), opened.name)
