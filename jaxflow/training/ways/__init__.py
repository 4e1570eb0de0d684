"""The ways in which models are fitted: by gradient steps, or at once."""
