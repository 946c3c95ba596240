"""Images, from names and folders to batches; what a network makes of them lives elsewhere."""
