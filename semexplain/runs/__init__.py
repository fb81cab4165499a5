"""Runs: their folders, and everything that is made once for many of them."""
