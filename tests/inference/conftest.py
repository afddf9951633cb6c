import pytest

from support.slide_runs import write_two_slides


@pytest.fixture
def slide_folder(tmp_path):
    """A folder of two equal slides, a and b."""
    return write_two_slides(tmp_path / "slides")
