"""The one exception that scripts turn into a line of text."""


class InputError(ValueError):
    """Something the user handed in is wrong: a file, a column, a cell, a key or a value.

    The message is a single sentence that names what is wrong, its value and what was expected, so that a script can
    print it as it is. Anything else that escapes from a script is a defect of jaxflow and keeps its traceback.
    """


class Preempted(Exception):
    """A fit was asked to stop by SIGTERM, and its state has been saved."""
