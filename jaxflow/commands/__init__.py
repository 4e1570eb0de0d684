"""Verbs of the `jaxflow` command, one a file; each has a `main` that a script of `scripts/` may call too."""
