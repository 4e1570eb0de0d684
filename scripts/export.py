"""Write a saved detector to one file that scores with JAX alone: `jaxflow export`."""

from jaxflow.commands.verbs import run_verb

if __name__ == "__main__":
    run_verb("export")
