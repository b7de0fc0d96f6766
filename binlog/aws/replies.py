"""Replies that end before their end.

The SDK reads a reply without looking whether it is whole (botocore passes
``enforce_content_length=False``), and takes a JSON body that it cannot parse for one without fields.
So a connection that is closed in the middle of a reply, cleanly, as a proxy does it, comes through
as success: a GetItem that found nothing, a PutRecords without entries (measured, botocore 1.44). Over
TLS the library mostly notices by itself; behind an endpoint of one's own there may be none.
"""

from __future__ import annotations

from typing import Any

_PAUSE_S = 0.05


def refuse_cut_replies(client: Any, service: str, attempts_max: int) -> None:
    """Have each reply of ``client`` that is not whole asked for again, as after a broken connection.

    For services whose replies are JSON: others stream. When no attempt is left, the call raises
    `botocore.exceptions.IncompleteReadError`.
    """

    def check(response: Any, attempts: int, **_: Any) -> float | None:
        if response is None:  # it broke already, and the SDK knows
            return None
        http, _parsed = response
        expected, actual = http.headers.get("content-length"), len(http.content)
        if expected is None or int(expected) == actual:
            return None
        if attempts < attempts_max:
            return _PAUSE_S * attempts
        from botocore.exceptions import IncompleteReadError

        raise IncompleteReadError(actual_bytes=actual, expected_bytes=int(expected))

    client.meta.events.register(f"needs-retry.{service}", check)
