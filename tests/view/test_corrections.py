"""Corrections through the page's server: written with the token alone, never over another page's
change.
"""

import http.client
import json
import threading

import numpy as np
import pytest

import view
from epsam.config.view import ViewOptions
from epsam.core.errors import DatasetError
from epsam.corrections.reading import read_corrections
from epsam.corrections.shapes import NORMAL, TUMOUR, CorrectedShape, paint_shapes
from epsam.corrections.store import CorrectionStore
from epsam.view.access import TOKEN_HEADER
from epsam.view.outlines import collect_rings
from epsam.view.regions import region_of_mask, region_of_rings
from epsam.view.run_patches import TrainingRun
from epsam.view.run_site import RunSite
from epsam.view.server import MAX_BODY, ViewServer
from support.viewed_run import INITIAL, SIDE, write_run

SQUARE = [[0, 0], [4, 0], [4, 4], [0, 4]]


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "corrections"


@pytest.fixture
def server(tmp_path, folder):
    run = TrainingRun(write_run(tmp_path))
    with ViewServer(RunSite(run, CorrectionStore(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def number_of(server, split, name):
    patches = server.site.run.patches
    return [(patch.split, patch.patch.name) for patch in patches].index((split, name))


def send(server, path, content, token=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=300)
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    headers = {TOKEN_HEADER: server.token if token is None else token, **headers}
    connection.request("POST", f"/{server.token}/{path}", body, headers)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def edit(revision=0, action="tumour", **more):
    return {"revision": revision, "action": action, **more}


def test_a_polygon_of_a_page_is_on_disk_in_the_folder_of_its_split(server, folder):
    path = f"corrections/{number_of(server, 'train', 'a_1')}"
    status, text = send(server, path, edit(corners=SQUARE))
    assert (status, json.loads(text)["revision"]) == (200, 1)
    # a_1 is the name of a patch in every split here.
    (shape,) = read_corrections(folder / "train" / "a_1.geojson")
    assert shape.meaning == TUMOUR
    np.testing.assert_array_equal(shape.polygon, SQUARE)
    script = server.site.answer(f"{path}.js", {}).content.decode()
    assert script.startswith("epsam.setCorrections(")
    assert '"revision": 1' in script


def test_a_click_accepts_or_rejects_the_region_of_the_model(server, folder):
    # The initial mask has columns 8 to 23 of rows 8 to 39; b_1 has no accepted pseudo-label.
    path = f"corrections/{number_of(server, 'train', 'b_1')}"
    assert send(server, path, edit(action="reject", point=[10, 10]))[0] == 200
    shapes = read_corrections(folder / "train" / "b_1.geojson")
    assert [shape.meaning for shape in shapes] == [NORMAL]
    assert (paint_shapes(shapes, 0, 0, SIDE, SIDE).reviewed == INITIAL).all()

    status, text = send(server, path, edit(1, action="accept", point=[60, 60]))
    assert (status, text) == (400, "there is no region of the model at this place")


def test_a_second_page_does_not_overwrite_the_first_in_silence(server, folder):
    path = f"corrections/{number_of(server, 'val', 'a_1')}"
    assert send(server, path, edit(corners=SQUARE))[0] == 200
    status, text = send(server, path, edit(action="normal", corners=SQUARE))
    assert status == 409
    assert "another page has changed these corrections" in text
    assert len(read_corrections(folder / "val" / "a_1.geojson")) == 1
    assert send(server, path, edit(1, "undo"))[0] == 200
    assert read_corrections(folder / "val" / "a_1.geojson") == []


def test_nothing_is_written_without_the_token_in_the_header_or_for_a_foreign_page(server, folder):
    content = edit(corners=SQUARE)
    assert send(server, "corrections/0", content, token="")[0] == 403
    assert send(server, "corrections/0", content, token="guessed")[0] == 403
    assert send(server, "corrections/0", content, Origin="http://evil.example")[0] == 403
    assert send(server, "corrections/0", content, Host="evil.example")[0] == 403
    assert not folder.exists()


@pytest.mark.parametrize("path", ["corrections/99", "corrections/../0", "corrections/a", "list.js"])
def test_no_path_but_that_of_an_image_is_written_to(server, folder, path):
    assert send(server, path, edit(corners=SQUARE))[0] == 405
    assert not folder.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "no content of a page"),
        (b"[]", "an object expected"),
        ({}, "a revision and an action are needed"),
        (edit(action="paint", corners=SQUARE), "no correction; use"),
        (edit(corners=SQUARE[:2]), "no polygon: 2 corners"),
        (edit(corners=[["<b>", 1], [2, 3], [4, 5]]), "no polygon"),
        (edit(point="here"), "neither corners nor a point"),
    ],
    ids=str,
)
def test_what_is_no_correction_is_refused_in_one_line(server, folder, content, message):
    status, text = send(server, "corrections/0", content)
    assert status == 400
    assert message in text
    assert "\n" not in text
    assert list(folder.glob("**/*.geojson")) == []


def test_a_body_that_is_too_long_is_not_read(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=300)
    headers = {TOKEN_HEADER: server.token, "Content-Length": str(MAX_BODY + 1)}
    connection.request("POST", f"/{server.token}/corrections/0", None, headers)
    assert connection.getresponse().status == 400


def test_a_page_that_only_shows_takes_nothing(tmp_path):
    site = RunSite(TrainingRun(write_run(tmp_path)))
    assert site.write("corrections/0", edit(corners=SQUARE)) is None
    assert site.answer("corrections/0.js", {}) is None
    assert b"corrections.js" not in site.answer("", {}).content


def test_the_region_at_a_place_is_that_of_its_pixels_without_the_holes():
    mask = np.zeros((12, 12), bool)
    mask[1:8, 1:8] = True
    mask[3:5, 3:5] = False
    mask[9:11, 9:11] = True
    region = region_of_mask(mask, 2, 2)
    expected = mask.copy()
    expected[9:, 9:] = False
    painted = paint_shapes(_as_shapes(region), 0, 0, 12, 12).tumour
    assert (painted == expected).all()
    assert region_of_mask(mask, 3.5, 3.5) is None
    assert region_of_mask(mask, 99, 3) is None


def test_the_region_of_contours_is_the_innermost_around_a_place():
    def box(low, high):
        return np.array([[low, low], [high, low], [high, high], [low, high]], np.float32)

    # A region with a hole, and a region in the hole.
    rings = collect_rings([box(0, 20), box(4, 16), box(8, 12)])
    outer = paint_shapes(_as_shapes(region_of_rings(rings, 2, 2)), 0, 0, 20, 20).tumour
    assert outer.sum() == 20**2 - 12**2
    inner = paint_shapes(_as_shapes(region_of_rings(rings, 10, 10)), 0, 0, 20, 20).tumour
    assert inner.sum() == 4**2
    assert region_of_rings(rings, 6, 6) is None
    assert region_of_rings(rings, 50, 6) is None
    assert region_of_rings(collect_rings([]), 1, 1) is None


def _as_shapes(polygon):
    return [CorrectedShape(TUMOUR, polygon)]


def test_corrections_in_a_file_are_refused_before_anything_is_drawn(tmp_path):
    (tmp_path / "notes").touch()
    options = ViewOptions(folder=str(write_run(tmp_path)), corrections=str(tmp_path / "notes"))
    with pytest.raises(DatasetError, match="notes: is no folder; give that of the corrections"):
        view.open_site(options)
