"""Normalizing flows in pure JAX that learn the density of normal data and flag what is improbable."""
