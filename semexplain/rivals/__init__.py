"""Other ways to share a score out among concepts, to compare the explainer with."""
