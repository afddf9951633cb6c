from epsam.inference.progress import PHASES
from epsam.report.inference import (
    InferenceResults,
    inference_warnings,
    part_rows,
    render_inference_report,
)

MADE = {
    "infer": {
        "ended": "2026-01-01",
        "seconds": 3.0,
        "options": {"sam_model_type": "vit_b", "mpp": 0.5},
    }
}


def image(name, seen=1, gated=0):
    return {
        "image": name,
        "status": "done",
        "windows": seen,
        "gated": gated,
        "tumour_share": 0.1,
        "seconds": 0.5,
    }


def slide(name, seen=9, gated=2, **more):
    return {"slide": name, "status": "done", "seen": seen, "gated": gated, "regions": 3, **more}


def of(key, rows, dice=None, timings=(), made=MADE):
    return InferenceResults("a/folder", key, rows, {}, dice or {}, {}, made, timings)


def test_what_failed_and_what_was_not_scored_is_told():
    rows = [
        slide("a"),
        {"slide": "b", "status": "failed", "reason": "no pixel size"},
        slide("c", reason="not scored: no XML"),
    ]
    assert inference_warnings(of("slide", rows)) == [
        "1 of 3 slides failed.",
        "b: no pixel size",
        "c: not scored: no XML",
    ]


def test_a_gate_that_let_nothing_through_and_slides_without_tissue_are_told():
    assert inference_warnings(of("image", [image("a"), image("b")])) == []
    assert (
        "all 2 windows normal"
        in inference_warnings(of("image", [image("a", gated=1), image("b", gated=1)]))[0]
    )
    assert inference_warnings(of("slide", [slide("a", seen=0, gated=0)])) == [
        "No window with tissue was found."
    ]
    # Images of label 0 are not shown to the classifier at all.
    assert inference_warnings(of("image", [image("a_0", seen=0)])) == []


def test_the_stand_in_is_told():
    made = {"infer": {"options": {"sam_model_type": "vit_demo"}}}
    assert "vit_demo" in inference_warnings(of("image", [image("a")], made=made))[0]


def test_shares_of_time_are_over_all_slides():
    timings = [
        {
            "slide": name,
            "seconds": seconds,
            **dict.fromkeys(PHASES, 0.0),
            "gate": gate,
            "encoder": encoder,
        }
        for name, seconds, gate, encoder in (("a", 1.0, 1.0, 0.0), ("b", 3.0, 0.0, 3.0))
    ]
    found = {row["part"]: (row["seconds"], row["share"]) for row in part_rows(timings)}
    assert (found["gate"], found["encoder"], found["write"]) == (
        ("1.0", "0.250"),
        ("3.0", "0.750"),
        ("0.0", "0.000"),
    )
    assert part_rows([]) == []


def test_the_page_has_every_part():
    timings = [{"slide": "a", "seconds": 4.0, **dict.fromkeys(PHASES, 0.5)}]
    page = render_inference_report(
        of("slide", [slide("a", dice="0.75", seconds=4.0)], {"a": 0.75}, timings)
    )
    for heading in ("Dice of single slides", "Slides", "Seconds and memory", "Options"):
        assert f"<h2>{heading}</h2>" in page
    assert "1 slides with tumour; lowest 0.750" in page
    assert '<td class="number">4.0</td>' in page
    assert "<details" in page.split("<h2>Options</h2>")[1]
    assert "<details" not in page.split("<h2>Options</h2>")[0]


def test_a_long_list_is_folded():
    page = render_inference_report(of("image", [image(f"{n}.png") for n in range(13)]))
    assert "<summary>all 13 images</summary>" in page
    assert "12.png" in page
