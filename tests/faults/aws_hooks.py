"""The intruder in a client of boto3 itself, by botocore's events: no proxy, no sockets of ours."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from botocore.awsrequest import AWSRequest, AWSResponse
from botocore.httpsession import URLLib3Session

from scripts.standins.proxy_faults import Broken, Reply, Request, encoded
from scripts.standins.proxy_intruder import Intruder
from tests.faults.kinesis_faulty import sdk_error
from tests.faults.patience import TIMEOUT_S


class _Body:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def stream(self) -> Iterator[bytes]:
        yield self._data


def attach(client: Any, intruder: Intruder) -> None:
    """Let the intruder have every call of the client, each attempt by itself."""
    session = URLLib3Session(timeout=TIMEOUT_S, max_pool_connections=16)

    def before_send(request: Any, **_: Any) -> AWSResponse:
        target = request.headers["X-Amz-Target"]
        operation = (target.decode() if isinstance(target, bytes) else target).rpartition(".")[2]
        asked = json.loads(request.body)

        def forward(changed: Request) -> Reply:
            data = request.body if changed is asked else encoded(changed)
            headers = {n: v for n, v in request.headers.items() if n.lower() != "content-length"}
            sent = AWSRequest(request.method, request.url, headers, data).prepare()
            answer = session.send(sent)
            known = {name.lower(): value for name, value in answer.headers.items()}
            return Reply(answer.status_code, known, json.loads(answer.content or b"{}"))

        try:
            reply = intruder.handle(operation, asked, forward)
        except Broken as broken:
            raise sdk_error(broken.how, request.url) from broken
        data = encoded(reply.body)
        unchecked = {"content-length", "x-amz-crc32"}
        headers = {n: v for n, v in reply.headers.items() if n not in unchecked}
        return AWSResponse(request.url, reply.status, headers, _Body(data))

    service = client.meta.service_model.service_id.hyphenize()
    client.meta.events.register(f"before-send.{service}", before_send)
