"""Run several experiments on the same rows, and put them side by side: `jaxflow compare`."""

from jaxflow.commands.verbs import run_verb

if __name__ == "__main__":
    run_verb("compare")
