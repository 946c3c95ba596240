"""Networks and where they round; how they are trained lives elsewhere."""
