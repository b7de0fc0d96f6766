"""Disaster recovery drills: a disaster, the runbook's own commands, and a judge."""

__all__: list[str] = []
