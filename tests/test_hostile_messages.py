"""The page on robustness shows what broken and hostile input is really answered with."""

import re

import pytest

from support.hostile_messages import INPUTS, answer
from support.mini import REPOSITORY

PAGE = (REPOSITORY / "docs" / "robustness.md").read_text("utf-8").splitlines()


def without_words_of_libraries(line):
    """Brackets quote other libraries, whose words change with their version."""
    return re.sub(r" \(.*?\)+(?=[;`])", "", line)


@pytest.mark.parametrize(("name", "give"), INPUTS, ids=[name for name, _ in INPUTS])
def test_the_answer_on_the_page_is_the_one_that_is_given(name, give, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shown = [without_words_of_libraries(line) for line in PAGE if line.startswith(f"| {name} |")]
    assert shown == [without_words_of_libraries(f"| {name} | {answer(give)} |")]
    assert not (tmp_path / "it_ran").exists()
