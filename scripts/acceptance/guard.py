"""Nothing is spent by mistake: the right account, the price said first, and a yes to it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

Ask = Callable[[str], str]
"""Asks the person at the terminal; raises `RefusedByGuardError` where nobody sits there."""

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class RefusedByGuardError(Exception):
    """Nothing was made and nothing spent; the message says what to do instead."""


def check_endpoints(*, local: bool) -> None:
    """Refuse to take a stand-in for AWS: the report would say what nobody has seen.

    Raises:
        RefusedByGuardError: an endpoint of this machine is set, and it is not a local run.
    """
    for name, value in os.environ.items():
        if name.startswith("AWS_ENDPOINT_URL") and urlsplit(value).hostname in LOOPBACK:
            if local:
                continue
            raise RefusedByGuardError(f"{name}={value} is not AWS: unset it, or say --local")


def check_account(sts: Any, wanted: str | None, ask: Ask) -> str:
    """The account that the credentials belong to, if it is the one that is meant.

    Raises:
        RefusedByGuardError: it is another one, or nobody says which one is meant.
    """
    if wanted is None:
        wanted = ask("The id of the account that this is to run in and to be billed to: ")
    wanted = wanted.strip().replace("-", "")
    if not re.fullmatch(r"\d{12}", wanted):
        raise RefusedByGuardError(f"{wanted!r} is no account's id: give its 12 digits (--account)")
    found = str(sts.get_caller_identity()["Account"])
    if found != wanted:
        raise RefusedByGuardError(
            f"the credentials are of account {found}, not of {wanted}: see AWS_PROFILE, --profile"
        )
    return found


def check_spending(dollars: float, *, yes: bool, ask: Ask) -> None:
    """A yes to the price, by option or typed.

    Raises:
        RefusedByGuardError: it was not said.
    """
    if yes:
        return
    if ask(f"Type `spend` to spend about ${dollars:.2f}: ").strip() != "spend":
        raise RefusedByGuardError("not confirmed: nothing was spent")
