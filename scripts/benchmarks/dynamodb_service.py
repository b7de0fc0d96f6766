"""What answers every call of DynamoDB with "done" after a while, for measuring clients."""

from __future__ import annotations

import json
import socket
import threading
import time
from multiprocessing.connection import Connection
from typing import Any


def serve(ready: Connection, delay_s: float) -> None:
    """Serve on a free port of this machine until the process ends; its URL goes to ``ready``."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    ready.send(f"http://127.0.0.1:{listener.getsockname()[1]}")
    service = _Service(delay_s)
    while True:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=service.answer, args=(connection,), daemon=True).start()


class _Service:
    """Remembers the rows of control tables and which tables there are, nothing else."""

    def __init__(self, delay_s: float) -> None:
        self._delay_s = delay_s
        self._rows: dict[str, Any] = {}
        self._tables: dict[str, Any] = {}
        self._tags: dict[str, Any] = {}

    def answer(self, connection: socket.socket) -> None:
        """One connection, request after request."""
        file = connection.makefile("rb")
        while line := file.readline():
            headers = {}
            while (header := file.readline()) not in (b"\r\n", b""):
                name, _, value = header.partition(b":")
                headers[name.lower()] = value.strip()
            body = file.read(int(headers.get(b"content-length", 0)))
            del line
            operation = headers.get(b"x-amz-target", b"").rpartition(b".")[2].decode()
            status, reply = self._do(operation, body)
            time.sleep(self._delay_s)
            content = json.dumps(reply).encode()
            connection.sendall(
                b"HTTP/1.1 %d x\r\nContent-Type: application/x-amz-json-1.0\r\n"
                b"Content-Length: %d\r\n\r\n%s" % (status, len(content), content)
            )

    def _do(self, operation: str, body: bytes) -> tuple[int, dict[str, Any]]:
        if operation == "PutItem" and b'"sk"' not in body:  # the common one, unread
            return 200, {"ConsumedCapacity": {"TableName": "t", "CapacityUnits": 1.0}}
        if operation == "BatchExecuteStatement":
            count = body.count(b'"Statement":')
            units = [{"TableName": "t", "CapacityUnits": 1.0}] * count
            return 200, {"Responses": [{"TableName": "t"}] * count, "ConsumedCapacity": units}
        if operation == "BatchWriteItem":
            return 200, {"UnprocessedItems": {}}
        request = json.loads(body)
        name = request.get("TableName", "")
        if operation == "CreateTable":
            self._tables[name] = request
            self._tags[name] = request.get("Tags", [])
            return 200, {}
        if operation == "DescribeTable":
            return self._describe(name)
        if operation == "DeleteTable":
            self._tables.pop(name, None)
            return 200, {}
        if operation == "DescribeTimeToLive":
            return 200, {"TimeToLiveDescription": {"TimeToLiveStatus": "DISABLED"}}
        if operation == "ListTagsOfResource":
            return 200, {"Tags": self._tags[request["ResourceArn"].rpartition("/")[2]]}
        key = json.dumps(
            [request.get(part, {}).get(k) for part in ("Item", "Key") for k in ("pk", "sk")]
        )
        if operation == "PutItem":
            self._rows[key.replace("null, null, ", "").replace(", null, null", "")] = request[
                "Item"
            ]
            return 200, {}
        if operation == "GetItem":
            if name not in self._tables:
                return 400, {"__type": "x#ResourceNotFoundException", "message": "none"}
            found = self._rows.get(key.replace("null, null, ", "").replace(", null, null", ""))
            return 200, {} if found is None else {"Item": found}
        return 200, {"Items": []}

    def _describe(self, name: str) -> tuple[int, dict[str, Any]]:
        made = self._tables.get(name)
        if made is None:
            return 400, {"__type": "x#ResourceNotFoundException", "message": "none"}
        shown = {
            "TableStatus": "ACTIVE",
            "TableArn": f"arn:aws:dynamodb:us-east-1:1:table/{name}",
            "KeySchema": made["KeySchema"],
            "AttributeDefinitions": made["AttributeDefinitions"],
            "BillingModeSummary": {"BillingMode": "PAY_PER_REQUEST"},
        }
        return 200, {"Table": shown}
