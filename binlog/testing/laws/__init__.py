"""The laws of an applier, and what it takes to put one to the proof."""

__all__: list[str] = []
