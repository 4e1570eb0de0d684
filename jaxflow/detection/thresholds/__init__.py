"""From scores to a threshold: rules that are fitted on held-out scores, and rules for streams."""
