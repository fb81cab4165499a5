"""Ways to share a score out among concepts, and what is true of them."""
