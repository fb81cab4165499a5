"""Faults injected into whole commands: ``make soak``."""
