"""Has a store's builds loaded by the service itself, from a data set: ``rebuild --import``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from appliers.store import Store
from binlog.errors import RefusedError
from binlog.objects.address import open_objects

if TYPE_CHECKING:
    from appliers.stores.dynamodb_import_data import Compression


def import_through(store: Store, url: str, *, compression: Compression = "zstd") -> None:
    """From now on builds of ``store`` are loaded by ImportTable, from data sets below ``url``.

    ``compression``: AWS takes both, a stand-in perhaps gzip only. The data sets are deleted when the
    build is live.

    Raises:
        RefusedError: no DynamoDB store, or no bucket.
    """
    from appliers.stores.dynamodb import DynamoDBStore  # not for `--help`
    from appliers.stores.dynamodb_import import Importer
    from binlog.objects.s3 import S3Objects

    if not isinstance(store, DynamoDBStore):
        raise RefusedError(
            "only DynamoDB has ImportTable", store.name, "leave out --import, and it is written"
        )
    objects = open_objects(url)
    if not isinstance(objects, S3Objects):
        raise RefusedError(f"{url!r} is no bucket", do="write --import s3://BUCKET/PREFIX")
    store.importer = Importer(objects, compression=compression)
