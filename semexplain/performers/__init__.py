"""Networks to explain."""
