"""ImportTable in memory, as AWS documents it, over the doubles of DynamoDB and of S3.

https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/S3DataImport.HowItWorks.html
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/S3DataImport.Validation.html

An import takes `import_s`. Meanwhile the table is CREATING; it has no tags. Items that are refused are
errors and leave the import FAILED; of two with one key one is left, in no order, without an error. A
client token is known for eight hours, with the same parameters; ListImports shows it to the end.
"""

# ruff: noqa: N803 - the service's own names of its arguments

from __future__ import annotations

import base64
import gzip
import json
import sys
from typing import Any

from tests.objects.s3_double import Bucket
from tests.stores.dynamodb_double import DynamoDBDouble, refusal
from tests.stores.dynamodb_items_double import Refused, checked_item, identity_of
from tests.stores.dynamodb_tables_double import ServiceError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

TOKEN_S = 8 * 3600
JOBS_MAX = 50
OBJECTS_MAX = 50_000


class ImportDouble(DynamoDBDouble):
    """One account with a bucket. ``miscount`` is added to what the service says it imported."""

    def __init__(self, bucket: Bucket) -> None:
        super().__init__()
        self.bucket = bucket
        self.import_s = 30.0
        self.imports: dict[str, dict[str, Any]] = {}
        self.miscount: dict[str, int] = {}
        self.other_jobs = 0
        self.lists_imports = True
        self._tokens: dict[str, tuple[str, float, dict[str, Any]]] = {}

    def _import_table(self, **request: Any) -> Any:
        token = request["ClientToken"]
        if token in self._tokens:
            arn, at, before = self._tokens[token]
            if self._now - at < TOKEN_S:
                if before != request:
                    raise ServiceError("ImportConflictException")
                return self._described(arn)
        running = [arn for arn in self.imports if self._status_of(arn) == "IN_PROGRESS"]
        if len(running) + self.other_jobs >= JOBS_MAX:
            self.other_jobs = 0  # done by the next call
            raise ServiceError("LimitExceededException")
        wanted = dict(request["TableCreationParameters"])
        name = wanted["TableName"]
        self.change_s, before_s = self.import_s, self.change_s
        try:
            self._create_table(**wanted)
        finally:
            self.change_s = before_s
        arn = f"arn:aws:dynamodb:region:1:table/{name}/import/{len(self.imports):037}"
        self.imports[arn] = {
            "ImportArn": arn,
            "TableArn": f"arn:aws:dynamodb:region:1:table/{name}",
            "S3BucketSource": request["S3BucketSource"],
            "ClientToken": token,
            "ends_at": self._now + self.import_s,
            "counts": self._load(name, request),
        }
        self._tokens[token] = arn, self._now, request
        return self._described(arn)

    def _load(self, name: str, request: dict[str, Any]) -> dict[str, Any]:
        assert request["InputFormat"] == "DYNAMODB_JSON"
        source = request["S3BucketSource"]
        assert source["S3Bucket"] == "bucket"
        keys = sorted(key for key in self.bucket.held if key.startswith(source["S3KeyPrefix"]))
        counts: dict[str, Any] = {
            "ProcessedItemCount": 0,
            "ImportedItemCount": 0,
            "ErrorCount": 0,
            "ProcessedSizeBytes": 0,
        }
        if not keys or len(keys) > OBJECTS_MAX:
            return counts | {"FailureCode": "S3NoSuchKey", "FailureMessage": "no\nobjects."}
        for key in keys:
            data = self.bucket.held[key][0]
            if request["InputCompressionType"] == "ZSTD":
                data = zstd.decompress(data)
            elif request["InputCompressionType"] == "GZIP":
                data = gzip.decompress(data)
            for line in data.splitlines():
                counts["ProcessedItemCount"] += 1
                try:
                    item = _with_binary(json.loads(line)["Item"])
                    item = checked_item(item, self._schema(name))
                except (Refused, ValueError, KeyError):
                    counts["ErrorCount"] += 1
                    continue
                self._set(name, identity_of(item, self._schema(name)), item)
                counts["ImportedItemCount"] += 1
        self._stale.pop(name, None)
        if counts["ErrorCount"]:
            said = "Some of the items failed validation checks and were not imported."
            counts |= {"FailureCode": "ItemValidationError", "FailureMessage": said}
        for count, change in self.miscount.items():
            counts[count] += change
        return counts

    def _status_of(self, arn: str) -> str:
        found = self.imports[arn]
        if self._now < found["ends_at"]:
            return "IN_PROGRESS"
        return "FAILED" if "FailureCode" in found["counts"] else "COMPLETED"

    def _described(self, arn: str) -> dict[str, Any]:
        found = dict(self.imports[arn])
        counts, _ = found.pop("counts"), found.pop("ends_at")
        found["ImportStatus"] = self._status_of(arn)
        if found["ImportStatus"] != "IN_PROGRESS":
            found |= counts
        return {"ImportTableDescription": found}

    def _describe_import(self, *, ImportArn: str) -> Any:
        if ImportArn not in self.imports:
            raise refusal("ImportNotFoundException")
        return self._described(ImportArn)

    def _list_imports(self, *, TableArn: str) -> Any:
        found = [
            {
                "ImportArn": arn,
                "ImportStatus": self._status_of(arn),
                "S3BucketSource": each["S3BucketSource"],
            }
            for arn, each in self.imports.items()
            if each["TableArn"] == TableArn and self.lists_imports
        ]
        return {"ImportSummaryList": found}


def _with_binary(value: Any) -> Any:
    """JSON has binary as base64; the calls of an SDK have bytes."""
    if isinstance(value, dict):
        if value.keys() == {"B"} and isinstance(value["B"], str):
            return {"B": base64.b64decode(value["B"], validate=True)}
        if value.keys() == {"BS"}:
            return {"BS": [base64.b64decode(each, validate=True) for each in value["BS"]]}
        return {name: _with_binary(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_with_binary(each) for each in value]
    return value
