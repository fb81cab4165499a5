"""Pictures that this package draws itself, whose truth is known."""
