"""Links, headings, tests and files that the documentation names exist."""

import ast
import re
from pathlib import Path

import pytest

from support.mini import REPOSITORY

PAGES = sorted(
    page
    for pattern in ("*.md", "docs/*.md", "dataset/README.md", "checkpoints/README.md")
    for page in REPOSITORY.glob(pattern)
)
DEVIATIONS = (REPOSITORY / "docs" / "deviations.md").read_text("utf-8")
CITATION = re.compile(r"docs/deviations\.md,\s+\\?[\"“]([^\"”\\]+)\\?[\"”]")
OUTSIDE = re.compile(r"[Mm]ethods,? (?:D\d|\d\w\b|section|shared)|\bdesign \d\.\d|\bspec/")
"""Names of documents that are not in the repository, and row numbers of them."""
SOURCES = sorted(
    path
    for folder in ("src", "tests", "benchmarks")
    for path in (REPOSITORY / folder).rglob("*.py")
    if path != Path(__file__)
)


def headings_of(text: str) -> list[str]:
    return re.findall(r"^#+ (.+)$", text, re.MULTILINE)


def anchor_of(heading: str) -> str:
    """A heading's anchor as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def links() -> list[tuple[Path, str]]:
    return [
        (page, link)
        for page in PAGES
        for link in re.findall(r"\]\((?!http)([^)]+)\)", page.read_text("utf-8"))
    ]


def one_paragraph(text: str) -> str:
    """Text without the line breaks and comment signs that a citation may run over."""
    return re.sub(r"\s*\n\s*(?:#\s*)?", " ", text)


@pytest.mark.parametrize(
    ("page", "link"), links(), ids=lambda value: value.name if isinstance(value, Path) else value
)
def test_links_lead_somewhere(page, link):
    path, _, anchor = link.partition("#")
    target = (page.parent / path) if path else page
    assert target.exists()
    if anchor:
        anchors = [anchor_of(heading) for heading in headings_of(target.read_text("utf-8"))]
        assert anchor in anchors


def test_the_index_names_every_page():
    index = (REPOSITORY / "docs" / "README.md").read_text("utf-8")
    for page in (REPOSITORY / "docs").glob("*.md"):
        assert page.name == "README.md" or f"({page.name})" in index


def test_every_deviation_that_the_code_cites_is_a_heading():
    cited = {
        (str(path.relative_to(REPOSITORY)), heading)
        for path in SOURCES
        for heading in CITATION.findall(one_paragraph(path.read_text("utf-8")))
    }
    headings = set(headings_of(DEVIATIONS))
    assert cited
    assert [citation for citation in sorted(cited) if citation[1] not in headings] == []


@pytest.mark.parametrize(
    "path",
    [*SOURCES, *PAGES, *REPOSITORY.glob("*.sh")],
    ids=lambda path: str(path.relative_to(REPOSITORY)),
)
def test_nothing_cites_a_document_that_is_not_in_the_repository(path):
    lines = path.read_text("utf-8").splitlines()
    # tests/config/test_command_line.py looks for such a citation in --help.
    cited = [line for line in lines if OUTSIDE.search(line) and "not in" not in line]
    assert cited == []


def test_every_deviation_has_all_parts():
    sections = re.split(r"^### ", DEVIATIONS, flags=re.MULTILINE)[1:]
    assert len(sections) >= 49
    for section in sections:
        parts = re.findall(r"^\* \*\*(\w+):\*\*", section, re.MULTILINE)
        assert parts == ["Paper", "Code", "Here", "Why", "Flag", "Test"], section.splitlines()[0]


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(tests/\S+::\w+)`", DEVIATIONS))))
def test_a_test_that_a_deviation_names_exists(name):
    path, _, function = name.partition("::")
    tree = ast.parse((REPOSITORY / path).read_text("utf-8"))
    assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_of_the_repository_that_a_page_names_exist(page):
    named = re.findall(
        r"`((?:src|tests|benchmarks|docs)/[\w/]+\.(?:py|md|csv))`", page.read_text("utf-8")
    )
    # docs/extending.md shows how files are added.
    missing = [path for path in named if not (REPOSITORY / path).exists()]
    assert page.name == "extending.md" or missing == []
