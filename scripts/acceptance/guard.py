"""Nothing is spent by mistake: the right account, the price said first, and a yes to it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urlsplit

Ask = Callable[[str], str]
"""Asks the person at the terminal; raises `RefusedByGuardError` where nobody sits there."""

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class RefusedByGuardError(Exception):
    """Nothing was made and nothing spent; the message says what to do instead."""


def check_endpoints(clients: Iterable[Any], *, local: bool) -> None:
    """Stand-ins are not taken for AWS, whose report would say what nobody has seen; nor AWS for them.

    Raises:
        RefusedByGuardError: an endpoint is of the other sort, whoever has set it.
    """
    for client in clients:
        url = str(client.meta.endpoint_url)
        if local and urlsplit(url).hostname not in LOOPBACK:
            raise RefusedByGuardError(f"{url} is not on this machine: leave out --local")
        if not local and urlsplit(url).hostname in LOOPBACK:
            raise RefusedByGuardError(f"{url} is not AWS: unset AWS_ENDPOINT_URL.., or say --local")


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
