"""The pictures of the notebooks, drawing only: one module a notebook, those of networks in a room of their own."""
