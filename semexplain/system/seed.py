"""Seeds of random numbers."""

from typing import Annotated

from annotated_types import Ge, Le

# What NumPy takes, and Lightning, which seeds Python, NumPy and PyTorch alike.
Seed = Annotated[int, Ge(0), Le(2**32 - 1)]
