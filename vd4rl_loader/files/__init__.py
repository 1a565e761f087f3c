"""Dataset files: reading, writing and checking them."""
