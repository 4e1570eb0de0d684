"""Models without gradient steps: Gaussians, mixtures, kernel densities, principal components."""
