"""How well ways of explaining do where the truth is known: ``make benchmark``."""
