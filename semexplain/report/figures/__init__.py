"""Figures of explanations: each file is one function from an :class:`~semexplain.explanation.Explanation` to a picture.

A function returns a ``matplotlib.figure.Figure`` and never shows it; what a page says of it is written before it. Blue
speaks for the score and orange against it, grey is what belongs to no concept; the sign is always readable without
colour.
"""
