"""The moving parts: everything that advances a checkpoint."""

__all__: list[str] = []
