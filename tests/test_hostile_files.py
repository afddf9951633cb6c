"""Tables and checkpoints edited by hand, damaged or made to harm: an error that names the file, or
content.
"""

import os
import pickle

import numpy as np
import pytest
import torch
from hypothesis import strategies as some

from epsam.ablation.results import read_scores
from epsam.core.checkpoints import load_plain, save_plain
from epsam.core.errors import DatasetError, EpsamError, WeightsError
from epsam.core.files import read_json, read_table, write_table
from epsam.data.cam_store import CamStore, load_cams, save_cams
from epsam.data.patches import Patch, load_median_mpp
from epsam.extraction.slide_labels import read_labels
from epsam.extraction.splits import read_exclusions, read_splits
from epsam.paths import DatasetPaths, RunPaths
from epsam.pictures.curves import curves_from_metrics, draw_curves
from epsam.report.training import read_run, render_training_report
from epsam.segment.sam.decoder_weights import load_decoder, save_decoder
from epsam.segment.sam.models import build_sam
from epsam.tables import METRIC_COLUMNS, PSEUDO_LABEL_COLUMNS
from epsam.training.pseudo_labels import _replace_round
from support.fuzzing import damaged, fuzz, tables

# Tables
# --------------------------------------------------------------------------------------------


def patch_sizes(table):
    return [load_median_mpp([Patch("a_1", 1, table, None), Patch("b_0", 0, table, None)], table)]


def curves(table):
    curves = curves_from_metrics(read_table(table, METRIC_COLUMNS))
    return [draw_curves(series, title) for title, series in curves.items()]


def scores(table):
    (table.parent / "evaluation_patches.csv").write_bytes(table.read_bytes())
    return read_scores(RunPaths(table.parent))


def report(table):
    (table.parent / "metrics.csv").write_bytes(table.read_bytes())
    return [
        render_training_report(
            read_run(RunPaths(table.parent), DatasetPaths(table.parent, 3 * (table.parent,)))
        )
    ]


def rounds(table):
    _replace_round(table, 1, [])
    return []


@pytest.mark.parametrize(
    ("read", "good"),
    [
        (read_splits, b'slide,split\ntumor_001,train\nnormal_002,val\n"a,b",test\n'),
        (read_labels, b"slide,split,label\ntumor_001,train,partial\nnormal_002,val,normal\n"),
        (
            lambda path: read_exclusions(path, "x"),
            b"dataset,slide,action,reason\nx,a,drop,because\n",
        ),
        (lambda path: read_table(path, ("id", "x")), 'id,x\nµ,1\n"line\nbreak",2\n'.encode()),
        (read_json, b'{"a": {"b": [1, 2.5, null, "\xc3\xa9"]}, "c": true}'),
        (patch_sizes, b"id,label,mpp\na,1,0.5\nb,0,\n"),
        (
            rounds,
            ",".join(PSEUDO_LABEL_COLUMNS).encode()
            + b"\n0,a_1,5,1.0,0.5,1,0.9\n1,a_1,5,1.0,0.5,1,\n",
        ),
        (
            curves,
            b"stage,epoch,name,value\nclassifier,1,val_auroc,0.5\nclassifier,2,val_auroc,0.75\n"
            b"decoder_0,1,val_dice,0.5\ndecoder_1,1,acceptance,nan\n",
        ),
        (
            report,
            b"stage,epoch,name,value\nclassifier,1,val_auroc,0.5\ndecoder_0,1,val_dice,0.5\n"
            b"decoder_1,1,acceptance,nan\n",
        ),
        (scores, b"split,what,id,dice,iou\ntest,round 1,a_1,0.5,0.25\n"),
    ],
    ids=[
        "splits",
        "labels",
        "exclusions",
        "any table",
        "json",
        "patches",
        "pseudo-labels",
        "curves",
        "report",
        "scores",
    ],
)
def test_a_fuzzed_table_is_an_error_that_names_it_or_content(tmp_path, read, good):
    path = tmp_path / "t.csv"

    def attempt(content):
        path.write_bytes(content)
        try:
            assert isinstance(read(path), dict | list)
        except DatasetError as error:
            return str(error)
        return ""

    columns = tuple(good.split(b"\n")[0].decode().split(","))
    outcome = fuzz(some.one_of(damaged(good), tables(columns)), 100, attempt)
    assert outcome.read
    assert outcome.messages
    assert all(".csv" in message for message in outcome.messages)


@pytest.mark.parametrize(
    "content",
    [
        b"id,x\n" + b"a" * 200_000 + b",1\n",
        b'id,x\n"never closed,1\n',
        b"\0\0\0",
        b"id;x\n1;2\n",
        b"\xff\xfei\0d\0",
    ],
)
def test_tables_of_another_program_are_told(tmp_path, content):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(DatasetError, match=r"t\.csv"):
        read_table(tmp_path / "t.csv", ("id", "x"))


@pytest.mark.parametrize("number", ["", "one", "-1", "1.5", "²", "1e3"])
def test_a_round_edited_by_hand_is_told(tmp_path, number):
    table = tmp_path / "pseudo_labels.csv"
    write_table(table, PSEUDO_LABEL_COLUMNS, [{"round": number, "id": "p_1"}])
    with pytest.raises(DatasetError, match=r"pseudo_labels\.csv: round .* of p_1 is no number"):
        _replace_round(table, 1, [])


def test_metrics_edited_by_hand_leave_gaps_in_the_curves(tmp_path):
    rows = [
        {"stage": "classifier", "epoch": epoch, "name": "val_auroc", "value": value}
        for epoch, value in [
            ("1", "0.5"),
            ("2", "high"),
            ("x", "0.5"),
            ("1e999", "0.5"),
            ("4", ""),
            ("5", "nan"),
            ("6", "1e300"),
        ]
    ]
    rows.append({"stage": "decoder_\n9", "epoch": "1", "name": "acceptance", "value": "0.5"})
    write_table(tmp_path / "metrics.csv", METRIC_COLUMNS, rows)
    for title, series in curves_from_metrics(
        read_table(tmp_path / "metrics.csv", METRIC_COLUMNS)
    ).items():
        assert draw_curves(series, title).dtype == np.uint8


# Maps and checkpoints
# ------------------------------------------------------------------------------------------------


def test_fuzzed_maps_are_an_error_that_says_how_to_make_them_again(tmp_path):
    path = tmp_path / "train.npz"
    maps = CamStore("abc", {"p_1": np.eye(8, dtype=np.float32)}, {"p_1": 0.5})
    save_cams(path, maps)

    def attempt(content):
        path.write_bytes(content)
        try:
            loaded = load_cams(path, "abc")
        except DatasetError as error:
            return str(error)
        assert np.array_equal(loaded.maps.get("p_1", maps.maps["p_1"]), maps.maps["p_1"])
        return ""

    outcome = fuzz(damaged(path.read_bytes()), 100, attempt)
    assert outcome.messages
    assert all(
        "train.npz" in message and "generate_initial_masks.py" in message
        for message in outcome.messages
    )


class Harm:
    """A pickle that leaves a file behind when it is loaded as Python would."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize(
    "write",
    [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))],
    ids=["as torch does", "plain pickle"],
)
def test_code_in_a_checkpoint_is_refused_and_does_not_run(tmp_path, write):
    write({"model": {"a": torch.zeros(2)}, "epoch": Harm(tmp_path / "it_ran")}, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=r"a\.pth: not a whole file of tensors and plain data"):
        load_plain(tmp_path / "a.pth")
    assert not (tmp_path / "it_ran").exists()


def test_a_flipped_bit_in_a_checkpoint_is_found_although_torch_would_load_it(tmp_path):
    path, weights = tmp_path / "a.pth", torch.arange(1000.0)
    save_plain(path, {"model": {"a": weights}})
    content = bytearray(path.read_bytes())
    content[content.index(weights[500:510].numpy().tobytes())] ^= 1
    path.write_bytes(content)
    assert not torch.equal(torch.load(path, weights_only=True)["model"]["a"], weights)
    with pytest.raises(WeightsError, match=r"a\.pth: not a whole file"):
        load_plain(path)


def test_a_fuzzed_checkpoint_is_an_error_or_the_written_one(tmp_path):
    path = tmp_path / "a.pth"
    save_plain(path, {"model": {"a": torch.arange(64.0)}, "epoch": 3})

    def attempt(content):
        path.write_bytes(content)
        try:
            assert isinstance(load_plain(path), dict)
        except WeightsError as error:
            return str(error)
        return ""

    outcome = fuzz(damaged(path.read_bytes()), 100, attempt)
    assert outcome.messages
    assert all("a.pth" in message for message in outcome.messages)


@pytest.fixture(scope="module")
def sam():
    torch.manual_seed(0)
    return build_sam("vit_demo")


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda state: state.pop(next(iter(state))), "1 missing"),
        (lambda state: state.update({"mask_decoder.extra": torch.zeros(1)}), "1 unexpected"),
        (lambda state: next(iter(state.values())).fill_(float("nan")), "1 not finite"),
        (lambda state: state.update({next(iter(state)): torch.zeros(3, 3)}), "1 of another shape"),
        (
            lambda state: state.update({"mask_decoder.text": "no tensor"}),
            "no table of named tensors",
        ),
        (lambda state: state.clear(), "no table of named tensors"),
    ],
    ids=["missing", "extra", "NaN", "shape", "text", "empty"],
)
def test_a_decoder_that_does_not_fit_is_told_and_not_half_loaded(tmp_path, sam, harm, message):
    path = tmp_path / "decoder.pth"
    save_decoder(path, sam, {"n_point": 5})
    content = torch.load(path, weights_only=True)
    harm(content["model"])
    torch.save(content, path)
    before = {key: tensor.clone() for key, tensor in sam.mask_decoder.state_dict().items()}
    with pytest.raises(EpsamError, match=rf"decoder\.pth: .*{message}"):
        load_decoder(path, sam)
    assert all(
        torch.equal(tensor, before[key]) for key, tensor in sam.mask_decoder.state_dict().items()
    )
