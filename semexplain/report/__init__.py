"""HTML pages of explanations, each one file that opens without a network.

``run.py`` makes the page of a run or of anyone's images, ``comparison.py`` that of several runs; ``page.py`` is what
they share, ``templates/`` how it all looks. What a number means stands beside its metric.
"""
