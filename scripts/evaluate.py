"""Judge a saved detector on labelled data: `jaxflow evaluate`."""

from jaxflow.commands.verbs import run_verb

if __name__ == "__main__":
    run_verb("evaluate")
