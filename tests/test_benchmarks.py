import sys
from functools import partial
from pathlib import Path

import pytest

from support.mini import smaller_sam

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def measure(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import measure

    return measure


def test_a_ratio_is_the_plain_way_over_the_fast_one_and_has_to_reach_its_target(measure):
    met = measure.Comparison("slow", 6.0, "fast", 2.0, 3.0).as_row()
    assert (met["ratio"], met["met"]) == (3.0, True)
    assert not measure.Comparison("slow", 5.9, "fast", 2.0, 3.0).as_row()["met"]


def test_sides_take_turns_after_one_unmeasured_call_each(measure):
    calls = []
    times = measure.in_turns(
        lambda: calls.append("plain"), lambda: calls.append("ours"), "cpu", repeats=2
    )
    assert calls == ["plain", "ours", "plain", "ours", "plain", "ours"]
    assert all(seconds >= 0 for seconds in times)


def test_all_levels_of_the_large_slide_show_the_same_tissue(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    from large_inference import DOWNSAMPLES, in_pieces
    from large_slide import TILE, tiles

    for downsample in DOWNSAMPLES:
        level = 24 * 4096 // downsample
        count = level // TILE
        with_tissue = [
            number
            for number, tile in enumerate(tiles(level, b"x", partial(in_pieces, 24 * 4096)))
            if tile
        ]
        # A piece is one tile of the coarsest level: 16 / downsample tiles of this one in each
        # direction.
        across = 16 // downsample
        assert with_tissue == [
            row * count + column
            for piece in (0, 12, 23)
            for row in range(piece * across, (piece + 1) * across)
            for column in range(piece * across, (piece + 1) * across)
        ]


def test_an_unknown_benchmark_is_named_in_the_error(measure, monkeypatch, capsys):
    import run

    monkeypatch.setattr(sys, "argv", ["run.py", "nonsense"])
    with pytest.raises(SystemExit) as end:
        run.main()
    assert end.value.code == 2
    assert "no such benchmark: nonsense" in capsys.readouterr().err


RESULT = {
    "plain": "slow",
    "plain_value": 6.0,
    "ours": "fast",
    "ours_value": 2.0,
    "unit": "s an image",
    "ratio": 3.0,
    "target": 2.5,
    "met": True,
    "note": "8 at a time",
    "machine": {"cpu": "A processor", "threads": 2, "torch": "2.6", "python": "3.11"},
}


def test_results_become_a_table_for_each_machine(measure):
    from table import tables

    large = {
        **RESULT,
        "target": 4,
        "met": False,
        "note": "",
        "machine": {**RESULT["machine"], "gpu": "A card"},
    }
    assert tables({"encoder, cpu": RESULT, "encoder, cuda": large, "maps, cpu": RESULT}) == [
        "A processor, 2 threads, torch 2.6, Python 3.11:",
        "",
        "| benchmark | plain | ours | ratio | target |",
        "|---|---|---|---:|---:|",
        "| encoder (8 at a time) | slow: 6 s an image | fast: 2 s an image | 3.00 | ≥ 2.5 |",
        "| maps (8 at a time) | slow: 6 s an image | fast: 2 s an image | 3.00 | ≥ 2.5 |",
        "",
        "A card, torch 2.6, Python 3.11:",
        "",
        "| benchmark | plain | ours | ratio | target |",
        "|---|---|---|---:|---:|",
        "| encoder | slow: 6 s an image | fast: 2 s an image | 3.00 | ≥ 4, missed |",
    ]


@pytest.mark.parametrize(
    ("values", "shape"),
    [
        # At 1×, 4× and 16× the slopes are (b − a) / 3 and (c − b) / 12.
        ((1, 4, 16), "straight (slopes × 1.00)"),
        ((5, 8, 20), "straight (slopes × 1.00)"),
        ((1, 4, 22), "bends up (slopes × 1.50)"),
        ((1, 4, 10), "flattens (slopes × 0.50)"),
        ((100, 101, 109), "flat"),
        ((4, 3, 9), "uneven"),
    ],
)
def test_a_line_is_called_straight_where_both_slopes_agree(measure, values, shape):
    from growth import describe_growth

    assert describe_growth(values) == shape


def test_the_plan_counts_what_a_run_does(measure):
    from planning import Plan, count_work, estimate_disk

    counts = {name: count.number for name, count in count_work(Plan(transforms=2)).items()}
    assert counts["encoder"] == 2 * 6068 + 700 + 2000
    # 6068 / 4 = 1517 steps in each of 20 epochs of 4 decoders.
    assert counts["step"] == 4 * 20 * 1517
    assert counts["encoder_in_loop"] == 80 * 6768
    assert counts["decoded"] == 80 * 700 + 4 * 6068 + 5 * 8768
    assert counts["classified"] == 50 * 12_068
    assert counts["maps"] == 8768
    # 14,836 embeddings of 2 MiB.
    assert estimate_disk(Plan(transforms=2))[0].number == pytest.approx(14_836 * 2**21 / 1e9)


def test_the_page_on_performance_shows_the_plan_as_it_is(measure):
    from planning import Plan, format_plan, published_costs

    page = (ROOT / "docs" / "performance.md").read_text("utf-8").splitlines()
    assert [line for line in format_plan(Plan(), [published_costs(12.2)]) if line not in page] == []


def test_the_classifiers_multiplications_are_those_of_resnet50(measure):
    from planning import multiply_adds

    from epsam.weak.resnet import NetworkSpec

    # torchvision tells 4.09 G for ResNet50 at 224 px, 0.002 of it in the fc.
    plain = NetworkSpec(evp_fuse="none", adl_positions=())
    assert multiply_adds(plain, 224, stock=True) == pytest.approx(4.09, abs=0.01)
    assert multiply_adds(plain, 448, stock=True) == pytest.approx(
        4 * multiply_adds(plain, 224, stock=True)
    )
    assert multiply_adds(plain, 224) > 1.4 * multiply_adds(plain, 224, stock=True)


def test_hours_are_counts_times_seconds_and_their_source_is_named(measure, monkeypatch, tmp_path):
    import planning

    costs = planning.Costs("somewhere", {"step": 0.72, "maps": 7200 / 8768}, ("a guess",))
    lines = list(planning.format_plan(planning.Plan(), [costs]))
    # 121,360 steps of 0.72 s are 24.272 h, maps that take 7,200 s together 2 h.
    assert "| decoder steps, at most | 121,360 | 0.72 | 24.27 |" in lines
    assert "| all | | | 26.3 |" in lines
    assert lines[-1] == "* a guess"
    monkeypatch.setattr(planning, "RESULTS", tmp_path / "none.json")
    assert planning.measured_costs("cpu") is None


def test_the_ablation_understands_the_rows_of_the_cached_transforms(measure, monkeypatch):
    import embedding_views

    from epsam.ablation.rows import read_rows

    environment = {}
    monkeypatch.setattr(
        embedding_views.subprocess, "run", lambda *_, env, **__: environment.update(env)
    )
    embedding_views.run_all("glas", "22", rounds=False)
    rows = read_rows(environment["ROWS"])
    assert [row.flags["DECODER_FLAGS"] for row in rows] == [
        ["--embedding_transforms", n] for n in ("1", "2", "4", "8")
    ]
    assert {row.until for row in rows} == {"preliminary"}
    script = (ROOT / "ablate.sh").read_text("utf-8")
    assert all(
        f"{name}=${{{name}:-" in script
        for name in ("DATASET_TYPE", "NAME", "SEEDS", "ONLY", "ROWS")
    )


@pytest.mark.slow
@pytest.mark.long
def test_growth_measures_every_step(measure, tmp_path):
    import growth

    growth.prepare(tmp_path, patches=2, slides=1)
    costs = {step: growth.measure(step, tmp_path) for step in growth.STEPS}
    assert all(seconds > 0 and memory > 100 for seconds, memory in costs.values())
    assert len(list((tmp_path / "data/slides/train/image").iterdir())) >= 20
    assert len(list((tmp_path / "data/noise/embeddings").rglob("*.npy"))) == 2 + 2
    assert (tmp_path / "runs/growth/sam_pre_decoder.pth").is_file()
    assert growth.row("maps", [(1.0, 100.0), (4.0, 101.0), (16.0, 102.0)]) == (
        "| maps | 1.0 | 4.0 | 16.0 | straight (slopes × 1.00) | 100 | 101 | 102 | flat |"
    )


@pytest.mark.slow
@pytest.mark.long
@smaller_sam()
def test_the_pass_under_a_cap_goes_through_all_stages(measure, tmp_path, capsys):
    import torch
    import twelve_gib

    from epsam.core.files import read_json
    from epsam.segment.sam.models import build_sam

    twelve_gib.write_dataset(tmp_path / "data" / "noise", 64, 2)
    twelve_gib.write_patches(tmp_path / "many", 64, 6)
    torch.manual_seed(0)
    torch.save(build_sam("vit_demo").state_dict(), tmp_path / "sam.pth")
    for name, step in twelve_gib.steps(tmp_path, "vit_demo", "cpu", small=True):
        twelve_gib.print_cost(name, step)
    assert [
        line.split()[0] for line in capsys.readouterr().out.splitlines() if "peak GPU" in line
    ] == [
        "train_classifier",
        "generate_initial_masks",
        "finetune_decoder",
        "retrain_decoder",
        "evaluate",
        "infer",
    ]
    fractions = twelve_gib.read_wait_fractions(tmp_path)
    assert len(fractions) == 2
    assert all(0 < fraction < 1 for fraction in fractions)
    assert read_json(tmp_path / "runs" / "noise" / "options.json")["train_classifier"][
        "train_image_dir"
    ] == str(tmp_path / "many" / "image")
    assert len(list((tmp_path / "many" / "image").iterdir())) == 6
    assert list((tmp_path / "out" / "mask").iterdir())


def small(monkeypatch, sam_cases):
    """The cases of SAM at small sizes, with the demo's SAM."""
    import torch

    from epsam.segment.sam.models import build_sam

    for name, value in {"PATCH_PX": 128, "GRID": 32, "POINTS": 5, "BATCH": 2}.items():
        monkeypatch.setattr(sam_cases, name, value)
    torch.manual_seed(0)
    monkeypatch.setattr(sam_cases, "_sam", lambda device: build_sam("vit_demo"))
    return sam_cases


def test_decoders_are_timed_only_if_they_agree(measure, monkeypatch):
    import sam_cases

    small(monkeypatch, sam_cases)
    monkeypatch.setattr(sam_cases, "in_turns", lambda *_, **_stock: (3.0, 1.5))
    assert sam_cases.batched_decoder("cpu").ratio == 2
    decode = sam_cases.decode
    monkeypatch.setattr(sam_cases, "decode", lambda *arguments: decode(*arguments) + 1)
    with pytest.raises(ValueError, match="batched_decoder: the two ways are .* apart"):
        sam_cases.batched_decoder("cpu")


@pytest.mark.parametrize("wrong", [False, True])
def test_encoders_are_timed_only_if_they_agree(measure, monkeypatch, wrong):
    import sam_cases
    import torch

    small(monkeypatch, sam_cases)
    monkeypatch.setattr(sam_cases, "in_turns", lambda *_, **_stock: (3.0, 1.5))
    stock_attention = sam_cases._stock_attention

    def broken(sam):
        attention = stock_attention(sam)
        with torch.no_grad():
            attention[0].rel_pos_h.zero_()
        return attention

    if wrong:
        monkeypatch.setattr(sam_cases, "_stock_attention", broken)
        with pytest.raises(
            ValueError, match=r"encoder: the two ways are .* apart, 0\.0001 at most was expected"
        ):
            sam_cases.encoder.__wrapped__("cpu")
    else:
        assert sam_cases.encoder.__wrapped__("cpu").ratio == 2


def test_prompt_sampling_is_timed_only_if_both_ways_agree(measure, monkeypatch):
    import prompt_cases

    monkeypatch.setattr(prompt_cases, "PATCH_PX", 128)
    monkeypatch.setattr(prompt_cases, "POINTS", 5)
    monkeypatch.setattr(prompt_cases, "in_turns", lambda *_, **_stock: (8.0, 4.0))
    comparison = prompt_cases.prompt_sampling("cpu")
    assert (comparison.plain_value, comparison.ours_value) == (1, 0.5)
    monkeypatch.setattr(
        prompt_cases, "sample_points", lambda weights, count, rngs: [[[0, 0]] * count] * len(rngs)
    )
    with pytest.raises(ValueError, match="prompt_sampling: the two ways"):
        prompt_cases.prompt_sampling("cpu")


def test_a_step_is_timed_only_with_embeddings_mapped_into_memory(measure, monkeypatch, tmp_path):
    import sam_cases

    from epsam.core.device import select_device
    from epsam.data.embeddings import EmbeddingStore
    from epsam.segment.sam.segmenter import SamSegmenter

    segmenter = SamSegmenter(
        small(monkeypatch, sam_cases)._sam("cpu"), 128, 5, select_device("cpu", "fp32")
    )
    monkeypatch.setattr(
        sam_cases, "EmbeddingStore", lambda folder, *rest: EmbeddingStore(None, *rest)
    )
    with pytest.raises(ValueError, match="not mapped into memory"):
        sam_cases._training_step(tmp_path, segmenter)


def test_the_training_step_that_is_timed_moves_the_decoder(measure, monkeypatch, tmp_path):
    import sam_cases
    import torch

    from epsam.core.device import select_device
    from epsam.segment.sam.models import freeze
    from epsam.segment.sam.segmenter import SamSegmenter

    segmenter = SamSegmenter(
        freeze(small(monkeypatch, sam_cases)._sam("cpu")), 128, 5, select_device("cpu", "fp32")
    )
    step = sam_cases._training_step(tmp_path, segmenter)
    before = segmenter.sam.mask_decoder.mask_tokens.weight.clone()
    step()
    assert not torch.equal(segmenter.sam.mask_decoder.mask_tokens.weight, before)
