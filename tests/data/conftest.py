import pytest

from jaxflow.errors import InputError


@pytest.fixture
def message():
    """Calls a reader and returns its error's sentence, which has to start with the path, without it."""

    def call(reader, path, *arguments, **options):
        with pytest.raises(InputError) as error:
            reader(path, *arguments, **options)
        text = str(error.value)
        assert text.startswith(f"{path}: ")
        assert "\n" not in text
        return text.removeprefix(f"{path}: ")

    return call
