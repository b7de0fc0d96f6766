"""The log: what an event is, how it is written, read and numbered."""

__all__: list[str] = []
