"""Whether any network can be explained: over a hundred, with random weights."""
