"""`python -m jaxflow`: the same as the `jaxflow` command."""

from jaxflow.commands.verbs import main

if __name__ == "__main__":
    main()
