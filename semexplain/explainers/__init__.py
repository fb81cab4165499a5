"""Networks that explain."""
