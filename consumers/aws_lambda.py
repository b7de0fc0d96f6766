"""The Lambda consumer's handler, to be deployed as it is: ``consumers.aws_lambda.handler``.

All its settings are environment variables, see `consumers.aws_lambda_settings`; how to deploy it is in
docs/lambda-consumer.md. A setting that is wrong fails the environment's initialisation, so that a
deployment (or a published version, with SnapStart) shows it, and not the first event.

Initialisation imports, and makes the SDK's clients once, since that takes longer than all the rest
and is what a snapshot saves; it calls nothing.
"""

from __future__ import annotations

import os
from typing import Any

from binlog.address import parse_address
from binlog.aws.account import connector
from binlog.errors import BinlogError
from consumers.aws_lambda_function import Context, Function
from consumers.aws_lambda_settings import Settings, settings_of
from consumers.environment import show_lines


def _begin() -> Function:
    try:
        show_lines(os.environ)
        settings = settings_of(os.environ)
    except BinlogError as error:
        # One line: the frames that it came through say nothing of what to do.
        raise error.with_traceback(None) from None
    _warm_up(settings)
    return Function(settings)


def _warm_up(settings: Settings) -> None:
    """What the first client of a process pays for: the SDK's imports and descriptions."""
    for url in (settings.log, settings.target):
        address = parse_address(url)
        connector(address.account, address.scheme, url)().close()


_function = _begin()


def handler(event: object, context: Context) -> dict[str, Any]:
    """Apply an event of the log's stream to the store; `Function.handle`."""
    return _function.handle(event, context)
