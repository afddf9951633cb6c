from epsam.inference.pipeline import Pipeline
from epsam.inference.progress import list_phases
from epsam.report.inference import (
    InferenceResults,
    describe_labels,
    inference_warnings,
    phase_rows,
    render_inference_report,
)

PROVENANCE = {
    "infer": {
        "ended": "2026-01-01",
        "seconds": 3.0,
        "options": {"sam_model_type": "vit_b", "mpp": 0.5},
    }
}


def image(name, classified=1, gated=0):
    return {
        "image": name,
        "status": "done",
        "windows": classified,
        "gated": gated,
        "tumour_share": 0.1,
        "seconds": 0.5,
    }


def slide(name, classified=9, gated=2, **more):
    return {
        "slide": name,
        "status": "done",
        "seen": classified,
        "gated": gated,
        "regions": 3,
        **more,
    }


def results_of(key, rows, dice=None, timings=(), provenance=PROVENANCE):
    return InferenceResults("a/folder", key, rows, {}, dice or {}, {}, provenance, timings)


def test_the_report_says_for_how_many_images_the_label_was_known():
    rows = [
        image("a_1") | {"label": 1},
        image("b_0", classified=0) | {"label": "0"},
        image("c") | {"label": ""},
    ]
    assert describe_labels(rows) == (
        "Labels were known for 2 of 3 images: 1 with tumour are segmented whatever the gate says, "
        "or, if larger than a tile, in the tiles that pass it; 1 without have an empty mask."
    )
    assert "Labels were known for 2 of 3" in render_inference_report(results_of("image", rows))
    assert describe_labels([image("c") | {"label": None}, slide("d")]) == ""


def test_failed_and_unscored_slides_are_listed():
    rows = [
        slide("a"),
        {"slide": "b", "status": "failed", "reason": "no pixel size"},
        slide("c", reason="not scored: no XML"),
    ]
    assert inference_warnings(results_of("slide", rows)) == [
        "1 of 3 slides failed.",
        "b: no pixel size",
        "c: not scored: no XML",
    ]


def test_a_gate_that_passes_nothing_and_slides_without_tissue_are_warned_about():
    assert inference_warnings(results_of("image", [image("a"), image("b")])) == []
    assert (
        "all 2 tiles normal"
        in inference_warnings(results_of("image", [image("a", gated=1), image("b", gated=1)]))[0]
    )
    assert inference_warnings(results_of("slide", [slide("a", classified=0, gated=0)])) == [
        "No tile with tissue was found."
    ]
    # Images of label 0 are not classified at all.
    assert inference_warnings(results_of("image", [image("a_0", classified=0)])) == []


def test_the_small_stand_in_for_sam_is_warned_about():
    provenance = {"infer": {"options": {"sam_model_type": "vit_demo"}}}
    assert (
        "vit_demo"
        in inference_warnings(results_of("image", [image("a")], provenance=provenance))[0]
    )


def test_fractions_of_time_are_over_all_slides():
    timings = [
        {
            "slide": name,
            "seconds": seconds,
            **dict.fromkeys(list_phases(Pipeline.phases), 0.0),
            "gate": gate,
            "encoder": encoder,
        }
        for name, seconds, gate, encoder in (("a", 1.0, 1.0, 0.0), ("b", 3.0, 0.0, 3.0))
    ]
    costs = {row["phase"]: (row["seconds"], row["fraction"]) for row in phase_rows(timings)}
    assert (costs["gate"], costs["encoder"], costs["write"]) == (
        ("1.0", "0.250"),
        ("3.0", "0.750"),
        ("0.0", "0.000"),
    )
    assert phase_rows([]) == []


def test_the_page_has_every_part():
    timings = [{"slide": "a", "seconds": 4.0, **dict.fromkeys(list_phases(Pipeline.phases), 0.5)}]
    page = render_inference_report(
        results_of("slide", [slide("a", dice="0.75", seconds=4.0)], {"a": 0.75}, timings)
    )
    for heading in ("Dice of single slides", "Slides", "Seconds and memory", "Options"):
        assert f"<h2>{heading}</h2>" in page
    assert "1 slides with tumour; lowest 0.750" in page
    assert '<td class="number">4.0</td>' in page
    assert "<details" in page.split("<h2>Options</h2>")[1]
    assert "<details" not in page.split("<h2>Options</h2>")[0]


def test_a_long_list_is_folded():
    page = render_inference_report(results_of("image", [image(f"{n}.png") for n in range(13)]))
    assert "<summary>all 13 images</summary>" in page
    assert "12.png" in page
