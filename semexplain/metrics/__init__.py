"""Quantities of the paper's tables: each a function of one data set, streamed over batches and processes."""
