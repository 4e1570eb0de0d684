"""Facts about the tree that must stay true; each is a function of the tree, tried on a tree where it is false too."""

import ast
import configparser
import graphlib
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# A file or folder may import from those before it. The first row stands beside the others, which all import from it.
LAYERS = [
    *("errors", "old_names", "whole_numbers", "atomic_write", "regular_file", "config", "data"),
    *(
        "networks",
        "bijectors",
        "models",
        "training",
        "detection",
        "compat",
        "evaluation",
        "experiment",
        "commands",
        "top",
    ),
]
# These stand on top of everything, as the scripts do, and nothing in the package imports them.
ON_TOP = {"jaxflow", "jaxflow.__main__"}

VAGUE = {"util", "utils", "helper", "helpers", "common", "core", "misc"}
RIDDLE = re.compile(r"(Those|That( of)?|The same|These|What|It|As its|Its|They|Their)\b")
MOST_LINES = 500
MOST_MODULES = 14
CROWDED = {"jaxflow/bijectors"}  # one family of layers a file, of which there are as many as there are


def python_files(root, *folders):
    return sorted(path for folder in folders for path in (root / folder).rglob("*.py"))


def module_name(path, root):
    return ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def layer(module):
    """The layer of a module, or of a name imported from one."""
    if module in ON_TOP:
        return "top"
    return module.split(".")[1]


@cache
def imported(path, root):
    """What a file imports from jaxflow, as `jaxflow.folder.module.name`."""
    return list(_imported(path, root))


def _imported(path, root):
    package = module_name(path, root).split(".")
    if path.name != "__init__.py":
        package.pop()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            base = ".".join(part for part in (start, node.module) if part)
            modules = [f"{base}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (module for module in modules if module.split(".")[0] == "jaxflow")


def wrong_imports(root):
    wrong = []
    for path in python_files(root, "jaxflow"):
        here = module_name(path, root)
        allowed = LAYERS[: LAYERS.index(layer(here)) + 1] if layer(here) in LAYERS else []
        wrong += [f"{here} imports {target}" for target in imported(path, root) if layer(target) not in allowed]
    return wrong


def circles(root):
    """Files and folders side by side that import one another in a circle, in each folder of the package."""
    found = []
    for folder in sorted({path.parent for path in python_files(root, "jaxflow")}):
        here = module_name(folder / "__init__.py", root)
        boxes = {path.stem for path in folder.iterdir()} - {"__init__", "__pycache__"}
        graph = {box: set() for box in boxes}
        for box in boxes:
            files = [folder / f"{box}.py"] if (folder / f"{box}.py").is_file() else (folder / box).rglob("*.py")
            for target in (target for path in files for target in imported(path, root)):
                other = target.removeprefix(f"{here}.").split(".")[0]
                if target.startswith(f"{here}.") and other in boxes - {box}:
                    graph[box].add(other)
        try:
            graphlib.TopologicalSorter(graph).prepare()
        except graphlib.CycleError as error:
            found.append(f"{here}: {' <- '.join(error.args[1])}")
    return found


def crowded(root):
    """Folders with more modules than one person can hold in mind."""
    folders = {path.parent for path in python_files(root, "jaxflow")}
    names = [str(folder.relative_to(root)) for folder in folders if len(list(folder.glob("[!_]*.py"))) > MOST_MODULES]
    return sorted(set(names) - CROWDED)


def not_mirrored(root):
    """Folders of tests that are no folder of what they test."""
    folders = {path.parent.relative_to(root / "tests") for path in python_files(root, "tests")}
    homes = (root / "jaxflow", root)
    return sorted(str(folder) for folder in folders if not any((home / folder).is_dir() for home in homes))


def without_docstring(root):
    files = [path for path in python_files(root, "jaxflow", "scripts") if path.name[0] != "_" or "__" in path.name]
    return [str(path.relative_to(root)) for path in files if not ast.get_docstring(ast.parse(path.read_text()))]


def riddles(root):
    """Docstrings that begin with a pronoun without its noun, or with a question: one has to read on to know of what."""
    found = []
    for path in python_files(root, "jaxflow", "scripts"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                first = (ast.get_docstring(node) or "").split("\n")[0]
                if RIDDLE.match(first):
                    found.append(f"{path.relative_to(root)}: {first}")
    return found


def too_long(root):
    files = python_files(root, "jaxflow", "scripts")
    return [str(path.relative_to(root)) for path in files if len(path.read_text().splitlines()) > MOST_LINES]


def vaguely_named(root):
    found = []
    for path in python_files(root, "jaxflow", "scripts", "tests"):
        relative = path.relative_to(root).with_suffix("")
        if VAGUE.intersection(part.removeprefix("test_") for part in relative.parts):
            found.append(str(relative))
    return found


def not_packages(root):
    """Folders of modules without `__init__.py`: setuptools would leave them out of what it installs."""
    folders = {path.parent for path in python_files(root, "jaxflow")}
    return [str(folder.relative_to(root)) for folder in sorted(folders) if not (folder / "__init__.py").is_file()]


def versions(root):
    """The version in setup.cfg and the one that the changelog begins with."""
    settings = configparser.ConfigParser()
    settings.read(root / "setup.cfg")
    heading = re.search(r"^## \[(.*?)\]", (root / "CHANGELOG.md").read_text(), re.MULTILINE)
    return settings["metadata"]["version"], heading and heading[1]


@pytest.fixture
def tree(tmp_path):
    def plant(files):
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        return tmp_path

    return plant


def test_there_is_something_to_check():
    modules = {module_name(path, ROOT) for path in python_files(ROOT, "jaxflow")}
    assert {"jaxflow", "jaxflow.errors", "jaxflow.config", "jaxflow.config.spec", "jaxflow.models.model"} <= modules


def test_imports_go_one_way():
    assert wrong_imports(ROOT) == []


@pytest.mark.parametrize(
    ("file", "statement", "target"),
    [
        ("networks/mlp.py", "from jaxflow.bijectors import Chain", "jaxflow.bijectors.Chain"),
        ("networks/mlp.py", "def f():\n    import jaxflow.evaluation.plots", "jaxflow.evaluation.plots"),
        ("models/flow.py", "from ..training.fit import fit", "jaxflow.training.fit.fit"),
        ("models/flow.py", "from jaxflow import detection", "jaxflow.detection"),
        ("models/flow.py", "import jaxflow", "jaxflow"),
        ("models/flow.py", "from jaxflow import Flow", "jaxflow.Flow"),
        ("data/toy.py", "from jaxflow.models import model", "jaxflow.models.model"),
        ("config/spec.py", "import jaxflow.data.toy as toy", "jaxflow.data.toy"),
        ("config/__init__.py", "from ..experiment import Experiment", "jaxflow.experiment.Experiment"),
        ("evaluation/report.py", "from jaxflow import experiment", "jaxflow.experiment"),
        ("stray.py", "from jaxflow.errors import InputError", "jaxflow.errors.InputError"),
        ("errors.py", "from jaxflow.config.spec import Spec", "jaxflow.config.spec.Spec"),
    ],
)
def test_an_import_the_other_way_is_found(tree, file, statement, target):
    root = tree({f"jaxflow/{file}": statement + "\n"})
    here = module_name(root / "jaxflow" / file, root)
    assert wrong_imports(root) == [f"{here} imports {target}"]


def test_imports_that_go_the_right_way_are_not_found(tree):
    root = tree(
        {
            "jaxflow/__init__.py": "from jaxflow.evaluation import plots\nfrom jaxflow import models\n",
            "jaxflow/experiment/spec.py": "from jaxflow.detection.detector import Detector\n",
            "jaxflow/data/toy.py": "from jaxflow.config import Spec\nfrom ..errors import InputError\n",
            "jaxflow/models/flow.py": "import numpy\nfrom . import model\nfrom jaxflow.data.toy import x\n",
        }
    )
    assert wrong_imports(root) == []


def test_nothing_imports_in_a_circle():
    assert circles(ROOT) == []


def test_folders_are_small():
    assert crowded(ROOT) == []


def test_tests_lie_where_what_they_test_lies():
    assert not_mirrored(ROOT) == []


def test_a_circle_is_found(tree):
    root = tree(
        {
            "jaxflow/models/flow.py": "from jaxflow.models.classical.gaussian import Gaussian\n",
            "jaxflow/models/classical/gaussian.py": "def f():\n    from jaxflow.models import flow\n",
            "jaxflow/data/toy.py": "from jaxflow.data import splits\n",
            "jaxflow/data/splits.py": "from jaxflow.data.sets.registry import names\n",
        }
    )
    (found,) = circles(root)
    assert found in {"jaxflow.models: flow <- classical <- flow", "jaxflow.models: classical <- flow <- classical"}


def test_a_crowd_and_a_stray_test_are_found(tree):
    root = tree(
        {f"jaxflow/{room}/m{n}.py": "" for room in ("data", "bijectors") for n in range(MOST_MODULES + 1)}
        | {f"jaxflow/models/m{n}.py": "" for n in range(MOST_MODULES)}
        | {"jaxflow/models/__init__.py": "", "scripts/train.py": "", "tests/test_project.py": ""}
        | {f"tests/{folder}/test_a.py": "" for folder in ("data", "scripts", "models/flows")}
    )
    assert crowded(root) == ["jaxflow/data"]
    assert not_mirrored(root) == ["models/flows"]


def test_every_module_says_what_it_is():
    assert without_docstring(ROOT) == []


def test_docstrings_begin_with_what_they_are_about():
    assert riddles(ROOT) == []


def test_a_riddle_is_found(tree):
    lines = ("Those of a spec.", "What it is.", "Its arrays.", "Itself.", "Return that value.", "Whatever it takes.")
    text = "\n".join(f'def f{number}():\n    """{line}"""' for number, line in enumerate(lines))
    root = tree({"jaxflow/models/flow.py": text})
    assert riddles(root) == [f"jaxflow/models/flow.py: {line}" for line in lines[:3]]


def test_no_file_outgrows_its_idea():
    assert too_long(ROOT) == []


def test_file_names_say_what_is_inside():
    assert vaguely_named(ROOT) == []


def test_every_folder_of_the_package_is_installed():
    assert not_packages(ROOT) == []


def test_what_is_wrong_with_a_file_is_found(tree):
    root = tree(
        {
            "jaxflow/__init__.py": '"""Fine."""\n' + "\n" * (MOST_LINES - 1),
            "jaxflow/data/toy.py": "x = 1\n" * (MOST_LINES + 1),
            "jaxflow/utils/_private.py": "",
            "tests/test_helpers.py": "",
            "scripts/core.py": "'Fine.'\n",
        }
    )
    assert without_docstring(root) == ["jaxflow/data/toy.py"]
    assert too_long(root) == ["jaxflow/data/toy.py"]
    assert vaguely_named(root) == ["jaxflow/utils/_private", "scripts/core", "tests/test_helpers"]
    assert not_packages(root) == ["jaxflow/data", "jaxflow/utils"]


def test_the_changelog_begins_with_the_version_in_setup_cfg():
    installed, newest = versions(ROOT)
    assert installed == newest


def test_a_changelog_that_lags_behind_is_found(tree):
    root = tree({"setup.cfg": "[metadata]\nversion = 0.2.0\n", "CHANGELOG.md": "# Changelog\n\n## [0.1.0] - 1\n"})
    assert versions(root) == ("0.2.0", "0.1.0")
