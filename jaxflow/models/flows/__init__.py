"""Normalizing flows: the model, its specs, the base distributions."""
