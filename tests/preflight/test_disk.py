from types import SimpleNamespace

import pytest

from epsam.config.decoder import DecoderOptions
from epsam.config.masks import MaskOptions
from epsam.config.patches import PatchOptions
from epsam.preflight.disk import DiskNeeds, check_disk, count_patches_at_most, estimate_needs
from support.findings import assert_single, listed

GB = 10**9


def test_the_estimate_is_that_of_table_1():
    # 14 bins of 500 and 50, 2000 test positives; 6000, 700 and 2000 negatives (CAMELYON17).
    counts = count_patches_at_most(PatchOptions())
    assert counts == {"train": (7000, 6000), "val": (700, 700), "test": (2000, 2000)}
    needs = estimate_needs(counts, True, PatchOptions(), DecoderOptions())
    assert needs.patches == 18_400 * 512 * 512 * 3 * 3 // 4
    assert needs.embeddings == (7000 * 2 + 700 + 2000) * 256 * 64 * 64 * 2
    assert estimate_needs(
        counts, False, PatchOptions(), DecoderOptions(embedding_cache=False)
    ) == DiskNeeds(0, 0, needs.run)


def test_transforms_and_normal_patches_need_room():
    counts = {"train": (60, 10), "val": (5, 5), "test": (4, 4)}
    for fraction, normal in ((0.1, 7), (0.5, 10)):
        needs = estimate_needs(
            counts, False, PatchOptions(), DecoderOptions(n_transform=4, normal_patches=fraction)
        )
        assert needs.embeddings == (60 * 4 + normal * 2 + 5 * 4 + 4 * 4) * 256 * 64 * 64 * 2


def test_maps_along_sam_share_the_decoders_embeddings_or_need_room_of_their_own():
    counts = {"train": (60, 10), "val": (5, 5), "test": (4, 4)}
    bytes_per_embedding = 256 * 64 * 64 * 2

    def embeddings(decoder_options, **mask_options):
        masks = MaskOptions(dataset_type="mine", refine="pam", **mask_options)
        return estimate_needs(counts, False, PatchOptions(), decoder_options, masks).embeddings

    assert embeddings(None) == 69 * bytes_per_embedding
    assert embeddings(None, embedding_cache=False) == 0
    # 60 in two transforms.
    assert embeddings(DecoderOptions()) == 129 * bytes_per_embedding
    # Tokens of 8 in 256 px.
    demo = 69 * 256 * 32 * 32 * 2
    assert embeddings(DecoderOptions(), map_sam="vit_demo") == 129 * bytes_per_embedding + demo
    averaged = MaskOptions(dataset_type="mine")
    assert estimate_needs(counts, False, PatchOptions(), None, averaged).embeddings == 0


@pytest.mark.parametrize(
    ("free", "expected"),
    [
        (5, [(True, "about 7.0 GB will be written, 5.0 GB are free")]),
        (8, [(False, "embeddings take about 3.0 GB, 1.0 GB are left")]),
        (11, []),
    ],
)
def test_room_is_required_for_patches_and_run_and_desired_for_embeddings(
    tmp_path, monkeypatch, free, expected
):
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=free * GB))
    findings = listed(check_disk(DiskNeeds(6 * GB, 3 * GB, GB), tmp_path / "not" / "yet", tmp_path))
    assert len(findings) == len(expected)
    for (stops_run, message), (expected_stops, part) in zip(findings, expected, strict=True):
        assert stops_run == expected_stops
        assert part in message


def test_a_folder_without_permission_stops(tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, _: "run" not in str(path))
    (tmp_path / "run").mkdir()
    assert_single(
        check_disk(DiskNeeds(0, 0, 0), tmp_path, tmp_path / "run"),
        True,
        "no permission to write",
        "checkpoints",
    )
