"""Several fits at once: members of ensembles and committees, models side by side."""
