"""Score the rows of files, or of a stream of JSON lines, with a saved detector: `jaxflow score`."""

from jaxflow.commands.verbs import run_verb

if __name__ == "__main__":
    run_verb("score")
