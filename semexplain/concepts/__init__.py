"""Kinds of concepts: what a concept is, how strong it is, how it is taken away."""
