"""Configs that come with the package, found by their names."""

from pathlib import Path

from jaxflow.errors import InputError, meant

# In a checkout they lie beside the package, in an installation within it.
_FOLDERS = (Path(__file__).parents[1] / "configs", Path(__file__).parents[2] / "configs")


def config_names() -> tuple[str, ...]:
    """Names of the configs that come with the package, in alphabetical order."""
    return tuple(sorted({file.stem for folder in _FOLDERS for file in folder.glob("*.yaml")}))


def listed_configs() -> str:
    """All names with commas between them, for a help text."""
    return ", ".join(config_names())


def config_file(name: str) -> Path:
    """The file that is meant by what a user wrote: a path, or the name of a config that comes with the package.

    A file that is there comes before a name.

    Raises:
        InputError: for a name that is neither, with the closest there is.
    """
    path = Path(name)
    if path.exists() or path.suffix:
        return path
    for folder in _FOLDERS:
        if (folder / f"{name}.yaml").is_file():
            return folder / f"{name}.yaml"
    hint = meant(name, config_names()) or f", expected a YAML file or one of {listed_configs()}"
    raise InputError(f"--config {name}: there is no such file or config{hint}")
