"""README and the pages of docs/: their code runs as printed, and what they name exists."""

import re
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
MADE = {"_build", "results"}  # in docs/, by a build
WRITTEN = (path for kind in ("*.md", "*.rst") for path in DOCS.rglob(kind))
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted(path for path in WRITTEN if path.relative_to(DOCS).parts[0] not in MADE),
]
MOST_BYTES = 8192
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NAMED = re.compile(r"(?<![\w/.])(?:scripts|configs|results|jaxflow|tests|docs)/[\w/.-]*\w")
PERCENT = re.compile(r"(?<![\d.])(\d+)%")
LINK = re.compile(r"(?<!`)\]\(([^)\s]+)\)")


class Block(NamedTuple):
    """Code of a page, and the lines that the page says it prints."""

    line: int
    code: str
    printed: list[str]


def python_blocks(text: str) -> list[Block]:
    """The Python of a page. It prints the ```text block that follows at once, or what comments after `print` say."""
    found, fences = [], [*FENCE.finditer(text), None]
    for fence, following in pairwise(fences):
        if fence is None or fence[1] != "python":
            continue
        printed = re.findall(r"^print\(.*\)  # (.*)$", fence[2], flags=re.MULTILINE)
        if following and following[1] == "text" and not text[fence.end() : following.start()].strip():
            printed = following[2].splitlines()
        found.append(Block(text.count("\n", 0, fence.start()) + 1, fence[2], printed))
    return found


def differences(printed: list[str], said: list[str]) -> list[str]:
    """Printed lines that are not as the page says. Percentages may differ by 1: rounding is not the same everywhere."""
    if len(printed) != len(said):
        return printed

    def alike(line: str, other: str) -> bool:
        pairs = zip(PERCENT.findall(line), PERCENT.findall(other), strict=False)
        near = all(abs(int(one) - int(two)) <= 1 for one, two in pairs)
        return near and PERCENT.sub("%", line) == PERCENT.sub("%", other)

    return [line for line, other in zip(printed, said, strict=True) if not alike(line, other)]


def anchors(text: str) -> set[str]:
    """The headings of a page, as links write them."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", text), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page: Path, text: str) -> list[str]:
    """Relative links of a page that lead nowhere."""
    broken = []
    for target in LINK.findall(FENCE.sub("", text)):
        if re.match(r"\w+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in anchors(file.read_text())):
            broken.append(target)
    return broken


def missing_files(text: str) -> list[str]:
    """Files and folders of the repository that a page names and that are not there."""
    names = {name.removesuffix(".") for name in NAMED.findall(text)}
    return sorted(name for name in names if not (ROOT / name).exists())


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


every_page = pytest.mark.parametrize("page", PAGES, ids=name_of)
every_page_with_code = pytest.mark.parametrize(
    "page", [page for page in PAGES if python_blocks(page.read_text())], ids=name_of
)


@every_page_with_code
def test_code_runs_as_printed(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "page"}
    for block in python_blocks(page.read_text()):
        exec(compile(block.code, f"{name_of(page)}:{block.line}", "exec"), names)
        printed = capsys.readouterr().out.splitlines()
        assert differences(printed, block.printed) == [], f"{name_of(page)}:{block.line}"


@every_page
def test_links_lead_somewhere(page):
    assert broken_links(page, page.read_text()) == []


@every_page
def test_files_that_it_names_exist(page):
    assert missing_files(page.read_text()) == []


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_it_is_short(name):
    assert len((ROOT / name).read_bytes()) <= MOST_BYTES


def test_every_config_is_listed_and_there():
    text = (DOCS / "how-to" / "command-line.md").read_text()
    listed = set(re.findall(r"`(\w+)`", text.split("## Configs")[1].split("\n## ")[0]))
    assert {path.stem for path in (ROOT / "configs").glob("*.yaml")} == listed


def test_there_is_code_to_run():
    assert len(PAGES) > 30
    assert len(python_blocks((ROOT / "README.md").read_text())) == 1
    assert sum(bool(python_blocks(page.read_text())) for page in PAGES) >= 6


def test_what_is_wrong_with_a_page_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# A page\n[a](#a-page) [b](other.md) [c](page.md#nowhere) [d](https://x.org)\n`jaxflow/models/specs.py` "
        "scripts/none.py.\n```python\nprint(1)  # 2\n```\n\n```python\nprint(3)\n```\n\n```text\n4\n```\n"
    )
    text = page.read_text()
    assert broken_links(page, text) == ["other.md", "page.md#nowhere"]
    assert missing_files(text) == ["scripts/none.py"]
    assert [block.printed for block in python_blocks(text)] == [["2"], ["4"]]
    assert differences(["5% of 12", "1.5%"], ["6% of 12", "1.5%"]) == []
    assert differences(["5% of 12", "1.5%"], ["7% of 12", "1.6%"]) == ["5% of 12", "1.5%"]
    assert differences(["5% of 12"], ["5% of 13"]) == differences(["5% of 12"], []) == ["5% of 12"]
