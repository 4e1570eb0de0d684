"""Fit a detector to data as a config says, and judge it on the test rows: `jaxflow train`."""

from jaxflow.commands.verbs import run_verb

if __name__ == "__main__":
    run_verb("train")
