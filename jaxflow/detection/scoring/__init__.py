"""From a table of the user to scores: reading rows, encoding them, missing values, compiled scoring."""
