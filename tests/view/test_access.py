import pytest

from epsam.view.access import TOKEN_HEADER, make_token, split_token, why_refused

TOKEN = "t0ken"
HOST = {"Host": "127.0.0.1:8000"}


def test_a_token_is_new_each_time_and_fits_into_an_address():
    tokens = {make_token() for _ in range(20)}
    assert len(tokens) == 20
    assert all(len(token) >= 20 and "/" not in token for token in tokens)


def test_the_token_is_the_first_part_of_the_path():
    assert split_token("/t0ken/tiles/0") == ("t0ken", "tiles/0")
    assert split_token("/") == ("", "")


@pytest.mark.parametrize(
    "headers",
    [
        HOST,
        {"Host": "localhost:1"},
        {**HOST, "Origin": "http://127.0.0.1:8000"},
    ],
)
def test_this_machines_pages_with_the_token_get_an_answer(headers):
    assert why_refused("GET", "/t0ken/", headers, TOKEN) == ""


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/", HOST),
        ("/t0keN/", HOST),
        ("/t0ken2/", HOST),
        ("/tøken/", HOST),
        ("/t0ken/", {}),
        ("/t0ken/", {"Host": "evil.example"}),
        ("/t0ken/", {"Host": "127.0.0.1.evil.example:8000"}),
        ("/t0ken/", {"Host": "evil.example#127.0.0.1"}),
        ("/t0ken/", {"Host": "[::1"}),
        ("/t0ken/", {**HOST, "Origin": "http://evil.example"}),
        ("/t0ken/", {**HOST, "Origin": "null"}),
        ("/t0ken/", {**HOST, "Origin": "http://127.0.0.1:9999"}),
        ("/t0ken/", {**HOST, "Origin": "https://127.0.0.1:8000"}),
    ],
)
def test_everybody_else_is_refused(path, headers):
    assert why_refused("GET", path, headers, TOKEN)


def test_writing_needs_the_token_in_a_header_too():
    assert why_refused("POST", "/t0ken/x", HOST, TOKEN)
    assert why_refused("POST", "/t0ken/x", {**HOST, TOKEN_HEADER: "other"}, TOKEN)
    assert why_refused("POST", "/t0ken/x", {**HOST, TOKEN_HEADER: TOKEN}, TOKEN) == ""
