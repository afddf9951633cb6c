import pytest

from epsam.report.classifier import classifier_rows, make_reliability_plot


def patch(split, label, probability):
    return {"split": split, "label": str(label), "probability": str(probability)}


def test_each_split_has_a_row_and_what_cannot_be_computed_is_empty():
    patches = [
        patch("val", 1, 1.0),
        patch("test", 1, 0.9),
        patch("test", 1, 0.3),
        patch("test", 0, 0.5),
        patch("test", 0, 0.0),
    ]
    val, test = classifier_rows(patches, threshold=0.5)
    assert val == {
        "split": "val",
        "positives": 1,
        "negatives": 0,
        "AUROC": "",
        "sensitivity": "1.0000",
        "specificity": "",
        "ECE": "0.0000",
    }
    # 0.9 beats both negatives, 0.3 one; each patch has a bin of its own: 0.1, 0.7, 0.5 and 0 off.
    assert (test["AUROC"], test["sensitivity"], test["specificity"]) == (
        "0.7500",
        "0.5000",
        "0.5000",
    )
    assert test["ECE"] == "0.3250"


def test_the_plot_is_of_the_last_split_with_a_dot_for_each_bin():
    patches = [patch("val", 0, 0.2), patch("test", 1, 1.0), patch("test", 0, 0.25)]
    plot = make_reliability_plot(patches)
    assert plot.caption == "2 test patches; ECE 0.125"
    low, high = plot.dots
    assert (low.x, low.y) == (plot.margin + plot.side / 4, plot.margin + plot.side)
    assert (high.x, high.y) == (plot.margin + plot.side, plot.margin)
    # Half of the patches each: half of the largest area.
    assert low.radius == high.radius == pytest.approx(11 / 2**0.5)
    assert high.text == "stated 1.000, positive 1.000 of 1"
    assert make_reliability_plot([]) is None
