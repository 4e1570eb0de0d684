"""What looks at a fit while it runs: callbacks, progress, history, checkpoints."""
