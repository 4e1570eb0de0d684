"""Draw rows from the density of a saved detector: `jaxflow sample`."""

from jaxflow.commands.verbs import run_verb

if __name__ == "__main__":
    run_verb("sample")
