"""Several devices, several processes, and machines that are taken away."""
