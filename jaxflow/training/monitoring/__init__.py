"""Monitoring of a fit while it runs: callbacks, progress, history, checkpoints."""
