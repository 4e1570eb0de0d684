"""Data sets by name: made ones, those of scikit-learn, and published ones."""
