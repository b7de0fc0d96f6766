"""Opens the place that an address names for objects."""

from __future__ import annotations

from binlog.address import parse_address
from binlog.clock import Clock
from binlog.errors import RefusedError
from binlog.objects.objects import Objects


def open_objects(url: str, *, clock: Clock | None = None) -> Objects:
    """The objects at ``file:DIR`` or ``s3://BUCKET/PREFIX``; its caller closes them.

    Nothing is looked at or made yet: what is not there shows at the first call.

    Raises:
        RefusedError: no address of objects.
    """
    address = parse_address(url)
    if address.scheme == "file":
        from binlog.objects.directory import DirectoryObjects  # not for `--help`

        return DirectoryObjects(address.path, clock=clock)
    if address.scheme == "s3":
        from binlog.objects.s3 import S3Objects

        return S3Objects(address.path, account=address.account)
    raise RefusedError(
        f"{url!r} is no place for objects", do="write file:DIR or s3://BUCKET/PREFIX"
    )
