"""The compiled inside of a fit: epochs, steps, the optimiser, the order of rows."""
