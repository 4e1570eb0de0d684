import re
from urllib.parse import unquote

import pytest

from jaxflow.errors import InputError
from jaxflow.evaluation.report import write_report

PROVENANCE = {
    "command": "python scripts/train.py --config 'a b.yaml'",
    "seed": 12345,
    "versions": {"python": "3.11.1", "jax": "0.10.2"},
    "git_commit": None,
    "git_uncommitted_changes": True,
}


@pytest.fixture
def page(tmp_path):
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "score histogram.png").write_bytes(b"")
    path = tmp_path / "report.md"
    write_report(
        path,
        title="Breast\ncancer",
        summary="One paragraph.",
        tables=[
            ("Metrics", ("metric", "value | unit"), [("a|b", 0.5), ("c\\|d\ne", None)]),
            ("Counts", ("x", "y", "z"), [(1, 2, 3)]),
        ],
        figures=[("Scores [nats]", "figures/score histogram.png", "Two\nclasses.")],
        provenance=PROVENANCE,
    )
    return path


def _tables(text):
    blocks = re.findall(r"(?:^\|.*\|\n)+", text, flags=re.MULTILINE)
    return [[re.split(r"(?<!\\)\|", line)[1:-1] for line in block.splitlines()] for block in blocks]


def test_the_page_has_its_parts_in_order(page):
    text = page.read_text()
    headings = re.findall(r"^#+ .*", text, flags=re.MULTILINE)
    assert headings == ["# Breast cancer", "## Metrics", "## Counts", "## Scores [nats]", "## How this was made"]
    assert "\n\nOne paragraph.\n\n" in text
    assert "\n\nTwo classes.\n\n" in text


def test_tables_have_equal_column_counts_whatever_the_cells_hold(page):
    tables = _tables(page.read_text())
    assert len(tables) == 3
    for table in tables:
        assert len({len(row) for row in table}) == 1
    assert [cell.strip() for cell in tables[0][2]] == [r"a\|b", "0.5000"]
    assert [cell.strip() for cell in tables[0][3]] == [r"c\\\|d e", "n/a"]
    assert tables[1][2] == [" 1 ", " 2 ", " 3 "]


def test_links_resolve(page):
    links = re.findall(r"!\[.*\]\((\S+)\)", page.read_text())
    assert links == ["figures/score%20histogram.png"]
    assert all((page.parent / unquote(link)).is_file() for link in links)


def test_provenance_can_be_pasted_and_read(page):
    text = page.read_text().split("## How this was made")[1]
    assert "```sh\npython scripts/train.py --config 'a b.yaml'\n```" in text
    assert "| seed | 12345 |" in text
    assert "| versions | python 3.11.1, jax 0.10.2 |" in text
    assert "| git commit | n/a |" in text
    assert "| git uncommitted changes | yes |" in text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tables": [("T", ("a", "b"), [(1,)])]}, "table 'T', row 0: 1 cells, expected 2"),
        ({"figures": [("F", "nowhere.png", "")]}, "figure 'F': nowhere.png is not a file in "),
        ({"figures": [("F", "/etc/hostname", "")]}, "figure 'F': /etc/hostname is an absolute path"),
    ],
)
def test_refusals_leave_the_old_page(page, changes, message):
    old = page.read_text()
    good = {"title": "t", "summary": "s", "tables": [], "figures": [], "provenance": {}}
    with pytest.raises(InputError, match=message):
        write_report(page, **(good | changes))
    assert page.read_text() == old
