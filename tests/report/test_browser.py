"""The pages in a real browser, with JavaScript off: on a screen and on a phone, from the disk and
without a network.
"""

import numpy as np
import pytest

from epsam.core.files import write_text
from epsam.inference.pipeline import Pipeline
from epsam.inference.progress import list_phases
from epsam.pictures.curves import draw_curves
from epsam.report.inference import InferenceResults, render_inference_report
from epsam.report.training import TrainingResults, render_training_report
from support.browser import find_browser, open_browser

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find_browser() is None,
        reason="no Chromium found (on Debian: apt-get install chromium); pages are not rendered",
    ),
]

LONG_NAME = "a_slide_with_a_name_" + "x" * 120
PROVENANCE = {
    "infer": {
        "ended": "2026-01-01",
        "seconds": 3.0,
        "options": {"output_dir": "/a/long/way/" * 20, "lr": 0.1},
    }
}


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with open_browser(find_browser(), tmp_path_factory.mktemp("profile")) as opened:
        yield opened


def tissue(side=700):
    return np.tile(np.array([200, 90, 170], np.uint8), (side // 2, side, 1))


def training():
    score = {
        "split": "test",
        "patches": "9",
        "dice": "0.5",
        "iou": "0.4",
        "pooled_dice": "0.5",
        "pooled_iou": "0.4",
    }
    patches = [
        {"split": "test", "what": "round 1", "id": f"p{n}", "dice": str(n / 9), "iou": "0.1"}
        for n in range(9)
    ]
    metrics = [
        {"stage": f"decoder_{n}", "epoch": "1", "name": "val_dice", "value": "0.5"}
        for n in range(3)
    ]
    curve = draw_curves({"train": [(1.0, 0.5), (2.0, 0.4)]}, "loss")
    return render_training_report(
        TrainingResults(
            LONG_NAME,
            [{**score, "what": predictor} for predictor in ("initial mask", "round 1")],
            patches,
            metrics,
            {"a_stage": {"run": LONG_NAME}},
            PROVENANCE,
            {"train_classifier": "nothing was learnt " * 20},
            [],
            {"loss": curve},
            {"cases": tissue(), "test": tissue()},
        )
    )


def images():
    rows = [
        {"image": f"{LONG_NAME}.png", "status": "done", "windows": 4, "gated": 1, "dice": "0.75"},
        {
            "image": "b.png",
            "status": "failed",
            "reason": f"/data/{LONG_NAME}.png: not a readable image " * 3,
        },
    ]
    return render_inference_report(
        InferenceResults(
            f"/data/{LONG_NAME}",
            "image",
            rows,
            {"mean_dice": 0.75},
            {LONG_NAME: 0.75},
            {f"{LONG_NAME}: Dice 0.750": tissue()},
            PROVENANCE,
        )
    )


def slides():
    rows = [
        {
            "slide": f"{LONG_NAME}_{n}",
            "status": "done",
            "seen": 4,
            "gated": 1,
            "tumour_mm2": "1.5",
            "seconds": 4.0,
        }
        for n in range(20)
    ]
    timings = [
        {"slide": row["slide"], "seconds": 4.0, **dict.fromkeys(list_phases(Pipeline.phases), 0.5)}
        for row in rows
    ]
    cases = {"a; tumour 1.5 mm²": tissue(960)}
    return render_inference_report(
        InferenceResults("slides", "slide", rows, {}, {}, cases, PROVENANCE, timings)
    )


@pytest.mark.parametrize("width", [1200, 390])
@pytest.mark.parametrize("page", [training, images, slides])
def test_a_page_is_readable(browser, tmp_path, page, width):
    write_text(tmp_path / "report.html", page())
    address = (tmp_path / "report.html").as_uri()
    shot = browser.shoot(address, width)
    assert shot.width == width, "what is too wide has to scroll by itself, not with the page"
    assert [url for url in shot.requests if not url.startswith("data:")] == [address]
    pixels = shot.picture.astype(int)
    assert pixels.shape[0] > 1000
    dark, coloured = (pixels.max(axis=2) < 80), (np.ptp(pixels, axis=2) > 60)
    assert dark.mean() > 0.002, "letters"
    assert coloured.mean() > 0.01, "pictures, bars and warnings"
    # Text reaches from the left margin over most of the width, and nothing is drawn outside of the
    # margins.
    columns = np.flatnonzero((pixels < 200).any(axis=(0, 2)))
    assert columns.min() >= 8
    assert width / 2 < columns.max() < width


def test_the_test_would_notice_scripts_network_and_overflow(browser, tmp_path):
    html = (
        '<!doctype html><meta name="viewport" content="width=device-width">'
        '<p>x</p><div style="width: 3000px">wide</div>'
        '<img src="http://127.0.0.1:9/a.png"><script>document.body.innerHTML = ""</script>'
    )
    write_text(tmp_path / "bad.html", html)
    shot = browser.shoot((tmp_path / "bad.html").as_uri(), 390)
    assert shot.width >= 3000
    assert "http://127.0.0.1:9/a.png" in shot.requests
    assert (shot.picture < 80).any(), "the script that empties the page did not run"
