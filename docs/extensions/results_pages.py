"""Show the pages in `results/`, which scripts wrote, as pages of this site.

They lie beside `docs/`, so that links to them work in the repository too. Sphinx reads what is below its folder only:
they are copied there for the time of a build, and links of other pages follow them.
"""

import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.config import Config

HERE = Path(__file__).parents[1]
RESULTS = HERE.parent / "results"
COPIES = HERE / "results"
LINK = re.compile(r"(\]\()((?:\.\./)+)(results/[^)\s#]*\.md)")


def copy_results(_: Sphinx, __: Config) -> None:
    """Copy the pages, their pictures and tables, where they have changed."""
    wanted = {path.relative_to(RESULTS) for kind in ("*.md", "*.png", "*.csv") for path in RESULTS.rglob(kind)}
    if COPIES.is_dir():
        for path in COPIES.rglob("*"):
            if path.is_file() and path.relative_to(COPIES) not in wanted:
                path.unlink()
    for name in wanted:
        text = (RESULTS / name).read_bytes()
        if name.suffix == ".md":
            text = b"---\norphan: true\n---\n" + text
        copy = COPIES / name
        if not copy.is_file() or copy.read_bytes() != text:
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(text)


def follow(_: Sphinx, page: str, source: list[str]) -> None:
    """Let links to pages in `results/` lead to their copies."""
    if not page.startswith("results/"):
        source[0] = LINK.sub(lambda link: link[1] + "../" * (len(link[2]) // 3 - 1) + link[3], source[0])


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect to the beginning of a build and to the reading of each page."""
    app.connect("config-inited", copy_results)
    app.connect("source-read", follow)
    return {"parallel_read_safe": True}
