"""The viewer in a real browser: tiles come, the threshold changes pixels, a link leads back."""

import shutil
import threading

import numpy as np
import pytest

from epsam.corrections.reading import read_corrections
from epsam.corrections.shapes import NORMAL, paint_shapes
from epsam.corrections.store import CorrectionStore
from epsam.view.catalogue import read_catalogue
from epsam.view.export import export_page
from epsam.view.export_gallery import export_gallery
from epsam.view.image_site import ImageSite
from epsam.view.run_patches import TrainingRun
from epsam.view.run_site import RunSite
from epsam.view.server import ViewServer
from support.browser import drag, draw_quarter, find_browser, open_browser
from support.viewed_results import write_results
from support.viewed_run import write_corrected, write_run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find_browser() is None,
        reason="no Chromium found (on Debian: apt-get install chromium); the viewer is not tried",
    ),
]

WIDTH, HEIGHT = 1000, 600
PLACE = "#image=a&x=350&y=250&zoom=0.8&layers="
"""The middle of the slide, 0.8 px of the screen for a pixel of it."""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    profile = tmp_path_factory.mktemp("profile")
    with open_browser(find_browser(), profile, scripts=True) as opened:
        yield opened


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = write_results(tmp_path_factory.mktemp("viewed"))
    with ViewServer(ImageSite(read_catalogue(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.address
        server.shutdown()


def settle(browser):
    """Wait until all tiles that are shown are there, and painted."""
    browser.wait_for(
        "epsam.state.image && epsam.viewer.world.getItemCount() ==="
        " Object.keys(epsam.state.image.layers).length &&"
        " Object.values(epsam.state.items).every(item => !item.getOpacity() || "
        "item.getFullyLoaded())"
    )
    browser.evaluate(
        "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
    )


def open_place(browser, address, layers):
    browser.load("about:blank", WIDTH, HEIGHT)
    browser.load(f"{address}{PLACE}{layers}", WIDTH, HEIGHT)
    settle(browser)


def colour_at(browser, x, y):
    """The mean colour of the screen around a pixel of level 0."""
    place = browser.evaluate(
        f"(() => {{ const p = epsam.viewer.viewport.pixelFromPoint("
        f"new OpenSeadragon.Point({x} / 700, {y} / 700), true);"
        f"const box = epsam.viewer.element.getBoundingClientRect();"
        f"return [p.x + box.left, p.y + box.top]; }})()"
    )
    clip = {"x": place[0] - 4, "y": place[1] - 4, "width": 8, "height": 8, "scale": 1}
    return browser.photograph(clip).astype(float).mean(axis=(0, 1))


def set_threshold(browser, value):
    browser.evaluate(
        f"(() => {{ const slider = document.getElementById('threshold'); slider.value = {value};"
        "slider.dispatchEvent(new Event('input')); slider.dispatchEvent(new Event('change')); })()"
    )
    browser.evaluate("new Promise(done => setTimeout(done, 300))")
    settle(browser)


def is_tissue(colour):
    return np.abs(colour - [200, 110, 170]).max() < 12


def test_tiles_come_and_the_threshold_changes_pixels(browser, address):
    open_place(browser, address, "probability")
    assert is_tissue(colour_at(browser, 50, 50))
    assert not is_tissue(colour_at(browser, 200, 200))
    assert not is_tissue(colour_at(browser, 350, 200)), "0.6 is above 0.5"

    set_threshold(browser, 0.7)
    assert is_tissue(colour_at(browser, 350, 200)), "0.6 is below 0.7"
    assert not is_tissue(colour_at(browser, 200, 200))
    set_threshold(browser, 0.55)
    assert not is_tissue(colour_at(browser, 350, 200))
    assert "threshold=0.55" in browser.evaluate("location.hash")
    assert browser.problems() == []
    local = [url.startswith((address, "data:")) for url in browser.requests()]
    assert len(local) > 10
    assert all(local)


def test_a_link_shows_the_same_place_and_layers(browser, address):
    open_place(browser, address, "uncertainty")
    assert is_tissue(colour_at(browser, 200, 200)), "1 is certain"
    assert not is_tissue(colour_at(browser, 350, 200))
    # Half the screen beside the list is 350 px0 · 0.8 from the slide's left border.
    view = browser.evaluate(
        "[epsam.viewer.viewport.pixelFromPoint(new OpenSeadragon.Point(0.5, 250 / 700), true)]"
        ".map(p => [p.x - epsam.viewer.container.clientWidth / 2,"
        " p.y - epsam.viewer.container.clientHeight / 2])[0]"
    )
    assert np.abs(view).max() < 1
    assert browser.evaluate("document.querySelector('#scale span').textContent") == "100 µm"
    # 100 µm are 200 px of level 0.
    assert browser.evaluate("parseFloat(document.getElementById('scale').style.width)") == (
        pytest.approx(160, abs=1)
    )


def test_regions_and_tiles_are_drawn_where_they_lie(browser, address):
    open_place(browser, address, "tumour,tiles")
    browser.wait_for("epsam.state.outlines.tumour && epsam.state.tiles")
    # A corner of the region at 400, 300 and of a tile at 256, 256; nothing between them.
    assert colour_at(browser, 400, 200)[2] > colour_at(browser, 400, 200)[0], "blue"
    assert colour_at(browser, 256, 50).mean() < colour_at(browser, 200, 50).mean() - 20, "dark"
    assert is_tissue(colour_at(browser, 330, 200))
    browser.evaluate("document.querySelector('input[name=tumour]').click()")
    assert is_tissue(colour_at(browser, 400, 200))


def test_keys_lead_through_the_list_and_switch_layers(browser, address):
    open_place(browser, address, "")
    press = "document.dispatchEvent(new KeyboardEvent('keydown', {{key: '{}'}}))"
    assert browser.evaluate("epsam.state.image.name") == "a"
    browser.evaluate(press.format("n"))
    browser.wait_for("epsam.state.image.name === 'b'")
    browser.evaluate(press.format("n"))
    browser.evaluate(press.format("p"))
    browser.wait_for("epsam.state.image.name === 'a'")
    settle(browser)
    browser.evaluate(press.format("1"))
    assert browser.evaluate("[...epsam.state.shown].join()") == "probability"

    # From the highest tumour area on; Dice from the worst on.
    browser.evaluate("document.querySelector('[data-key=dice]').click()")
    assert browser.evaluate("epsam.state.order") == [0, 1]
    browser.evaluate("document.querySelector('[data-key=dice]').click()")
    assert browser.evaluate("epsam.state.order") == [1, 0]


def test_an_exported_page_opens_from_a_disk(browser, tmp_path):
    site = ImageSite(read_catalogue(write_results(tmp_path)))
    export_page(site, tmp_path / "page", 30)
    site.files.close()
    for folder in ("results", "slides"):
        shutil.rmtree(tmp_path / folder)

    address = (tmp_path / "page" / "index.html").as_uri()
    open_place(browser, address, "probability,tumour,tiles")
    browser.wait_for("epsam.state.outlines.tumour && epsam.state.tiles")
    assert colour_at(browser, 400, 200)[2] > colour_at(browser, 400, 200)[0], "blue"
    assert is_tissue(colour_at(browser, 50, 50))
    assert not is_tissue(colour_at(browser, 350, 200))
    set_threshold(browser, 0.7)
    assert is_tissue(colour_at(browser, 350, 200))
    assert browser.problems() == []
    assert {url.split(":")[0] for url in browser.requests()} <= {"file", "data"}
    assert "0.0" in browser.evaluate("document.querySelector('#list tbody').textContent")


def test_the_gallery_of_a_run_is_sorted_and_its_pictures_come(browser, tmp_path):
    folder = write_run(tmp_path)
    write_corrected(folder)
    store = CorrectionStore(tmp_path / "corrections")
    with ViewServer(RunSite(TrainingRun(folder), store)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browser.load(f"{server.address}#split=train&label=1&order=ids", 1300, HEIGHT)
        names = "[...document.querySelectorAll('article h2')].map(h => h.firstChild.textContent)"
        assert browser.evaluate(names) == ["b_1", "a_1"]
        browser.wait_for(
            "[...document.querySelectorAll('article img')].filter(i => !i.src.includes('points'))"
            ".every(i => i.complete && i.naturalWidth === 256)"
        )
        browser.evaluate(
            "(() => { const s = document.getElementById('order'); s.value = 'uncertainty';"
            "s.dispatchEvent(new Event('change')); })()"
        )
        assert browser.evaluate(names) == ["a_1", "b_1"]
        browser.evaluate("document.dispatchEvent(new KeyboardEvent('keydown', {key: 'n'}))")
        assert "patch=a_1" in browser.evaluate("location.hash")
        assert browser.evaluate("document.querySelectorAll('article button').length") == 2
        # A patch outside of the dataset is shown, and is not corrected here.
        browser.load("about:blank", 1300, HEIGHT)
        browser.load(f"{server.address}#split=corrected&patch=new_x0_y0_1", 1300, HEIGHT)
        assert browser.evaluate(names) == ["new_x0_y0_1"]
        browser.wait_for("[...document.images].filter(i => i.naturalWidth === 256).length === 4")
        assert browser.evaluate("document.querySelector('article button')") is None
        browser.evaluate("document.dispatchEvent(new KeyboardEvent('keydown', {key: 'c'}))")
        assert not browser.evaluate("document.getElementById('correction').open")
        assert browser.problems() == []
        server.shutdown()


def test_an_exported_gallery_opens_from_a_disk(browser, tmp_path):
    folder = write_run(tmp_path)
    export_gallery(RunSite(TrainingRun(folder)), tmp_path / "page", 30)
    for name in ("runs", "dataset"):
        shutil.rmtree(tmp_path / name)
    address = (tmp_path / "page" / "index.html").as_uri()
    browser.load(f"{address}#split=train&label=1&order=ids", 1300, HEIGHT)
    names = "[...document.querySelectorAll('h2')].map(h => h.firstChild.textContent)"
    assert browser.evaluate(names) == ["b_1", "a_1"]
    browser.wait_for(
        "document.images.length > 5 && "
        "[...document.images].every(i => i.complete && i.naturalWidth === 256)"
    )
    assert browser.evaluate("document.querySelector('article button')") is None
    assert browser.problems() == []
    assert {url.split(":")[0] for url in browser.requests()} <= {"file", "data"}


def test_a_polygon_drawn_over_a_patch_is_on_disk_and_undone(browser, tmp_path):
    store = CorrectionStore(tmp_path / "corrections")
    with ViewServer(RunSite(TrainingRun(write_run(tmp_path)), store)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        draw_quarter(browser, server.address, "a_1")

        (shape,) = read_corrections(store.folder / "train" / "a_1.geojson")
        painted = paint_shapes([shape], 0, 0, 64, 64).tumour
        assert painted[2:30, 2:30].all()
        assert not painted[34:].any()
        assert not painted[:, 34:].any()

        browser.evaluate("document.querySelector('button[name=undo]').click()")
        browser.wait_for("epsam.editor.state.revision === 2")
        assert read_corrections(store.folder / "train" / "a_1.geojson") == []
        assert browser.problems() == []
        server.shutdown()


def test_a_polygon_drawn_over_a_slide_is_in_its_pixels(browser, tmp_path):
    store = CorrectionStore(tmp_path / "corrections")
    folder = write_results(tmp_path)
    with ViewServer(ImageSite(read_catalogue(folder), store)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        open_place(browser, server.address, "")
        browser.wait_for("epsam.editor.state.revision === 0")
        browser.evaluate("document.querySelector('button[name=normal]').click()")
        # Places of the screen for corners in pixels of level 0.
        places = browser.evaluate(
            "[[100, 100], [300, 100], [300, 250], [100, 250], [100, 180]].map(function (corner) {"
            "const p = epsam.viewer.viewport.pixelFromPoint("
            "new OpenSeadragon.Point(corner[0] / 700, corner[1] / 700), true);"
            "const box = epsam.viewer.element.getBoundingClientRect();"
            "return [p.x + box.left, p.y + box.top]; })"
        )
        drag(browser, places)
        browser.wait_for("epsam.editor.state.revision === 1")
        (shape,) = read_corrections(store.folder / "a.geojson")
        assert shape.meaning == NORMAL
        np.testing.assert_allclose(shape.polygon.min(axis=0), [100, 100], atol=2)
        np.testing.assert_allclose(shape.polygon.max(axis=0), [300, 250], atol=2)
        assert browser.problems() == []
        server.shutdown()
