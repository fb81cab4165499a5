"""The paper's tables from finished runs, its printed numbers beside ours.

``groups.py`` groups runs that differ in the seed alone, ``quantities.py`` says which number stands in which table,
``layout.py`` makes the tables, ``render.py`` writes them as Markdown, LaTeX and CSV, ``notes.py`` says where the paper
contradicts itself, ``statements.py`` which of its findings hold here, ``missing.py`` which runs are still to be made,
``pictures.py`` draws Fig. 8 and what the prior costs; ``write.py`` puts everything into a folder.
"""
