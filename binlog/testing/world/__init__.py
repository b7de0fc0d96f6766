"""The simulated world: real producers, log rules and consumers in a world that breaks, by a seed."""

__all__: list[str] = []
