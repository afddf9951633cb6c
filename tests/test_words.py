"""Names in src say what a thing is: no name that needs the sentence around it to be understood."""

import ast
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parents[1] / "src"

# `found` is no name for overlaps, logits or a match; docs/glossary.md has the field's words.
UNCLEAR = {
    "asked",
    "asking",
    "bench",
    "board",
    "donor",
    "found",
    "given",
    "hints",
    "kept",
    "known",
    "made",
    "own",
    "specks",
    "told",
    "used",
    "wanted",
}


def bound_names(tree):
    """(name, line) of what a module binds: variables, parameters, attributes, functions, classes,
    and of the keywords that it passes.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.id, node.lineno
        elif isinstance(node, ast.Attribute):
            yield node.attr, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.keyword) and node.arg:
            yield node.arg, node.value.lineno
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name, node.lineno
        elif isinstance(node, ast.alias):
            yield node.asname or node.name, node.lineno
        elif isinstance(node, ast.MatchAs | ast.MatchStar | ast.ExceptHandler) and node.name:
            yield node.name, node.lineno


def unclear_names(text):
    for name, line in bound_names(ast.parse(text)):
        # A leading underscore, or capitals, do not make a word clearer.
        if name.strip("_").lower() in UNCLEAR:
            yield name, line


def test_no_name_in_src_is_unclear():
    places = []
    for path in sorted(SRC.rglob("*.py")):
        for name, line in unclear_names(path.read_text("utf-8")):
            places.append(f"{path.relative_to(SRC)}:{line}: {name}")
    assert places == []


@pytest.mark.parametrize(
    "text",
    [
        "found = 1",
        "for kept in x: pass",
        "def told(): pass",
        "def f(given): pass",
        "def f(*, wanted=1): pass",
        "x.asked = 1",
        "f(own=1)",
        "class Board: pass",
        "import a as bench",
        "_made = [used for used in x]",
        "with x as known: pass",
        "try: x\nexcept E as found: pass",
    ],
)
def test_every_way_to_bind_a_name_is_seen(text):
    assert list(unclear_names(text))


def test_words_inside_of_longer_names_and_texts_are_free():
    assert not list(unclear_names('not_found = {"kept": 1}  # found\nknown_slides = x["own"]'))
