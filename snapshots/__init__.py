"""State at a vector made durable, rebuilt and verified."""

__all__: list[str] = []
