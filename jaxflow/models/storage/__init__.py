"""A model as a directory, written and read back."""
