"""Attributions that are right already, from which an explainer learns only the correction."""
