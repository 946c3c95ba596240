"""Images and texts, from names and folders to batches; what a network makes of them lives elsewhere."""
