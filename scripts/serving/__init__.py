"""The peer that the serving benchmark starts."""
