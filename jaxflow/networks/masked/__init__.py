"""Masked networks, whose outputs depend on chosen inputs only."""
