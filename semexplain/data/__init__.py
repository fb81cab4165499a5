"""Images, labels and the batches made of them."""
