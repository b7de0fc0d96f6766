"""The command ``binlog``, one verb a file; the one place that knows all the layers."""

__all__: list[str] = []
