"""A whole training run of the mini dataset: which data it may use, and what each round starts from.

True masks of training patches are read only where this file lists it; the test split is scored, and
nothing is chosen by it.
"""

import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from epsam.cam.postprocess import threshold_and_open
from epsam.config.classifier import ClassifierOptions
from epsam.core.device import select_device
from epsam.core.files import read_json, read_table, sha256_of
from epsam.core.seeding import generator
from epsam.data.cam_store import load_cams
from epsam.data.embeddings import digest_of_image
from epsam.data.images import read_rgb
from epsam.data.patches import list_labelled_patches, select_positives
from epsam.paths import RunPaths
from epsam.segment.sam.prompting.point_sampling import sample_points
from epsam.segment.sam.prompting.rules import scale_to_range
from epsam.tables import GRID_SEARCH_COLUMNS, METRIC_COLUMNS
from epsam.training import rounds as rounds_module
from epsam.training.classifier import score_classifier
from epsam.training.sam_setup import load_prompt_inputs
from epsam.weak.weights import load_classifier
from support.mini import REPOSITORY, SIDE
from support.training_stages import run_training, working_in, write_mini_dataset

SEED = 22
N_ROUNDS = 3
"""The preliminary decoder and two retraining rounds; the second is the first that could begin with
what another round has left in memory.
"""
GRID = ("--grid_search", "--grid_quantiles", "0.2,0.6", "--grid_kernels", "0,3")

READERS_IN_TRAINING = {
    # Dice of the pseudo-labels, for the log and pseudo_labels.csv.
    "epsam.training.pseudo_labels.write_label",
    # Pictures for the reader.
    "epsam.training.panels.write_panel",
    # Digests: other masks are other inputs of these scores and pictures.
    "epsam.training.round_data.digest_inputs",
}
"""Functions that read true masks of training patches while the training stages run."""

MODULES_THAT_LOAD_GROUND_TRUTH = {
    # Scores of finished predictors, and their pictures.
    "epsam.evaluation.score_run",
    "epsam.inference.image_folder",
    "epsam.report.cases",
    "epsam.training.panels",
    "epsam.training.pseudo_labels",
    "epsam.view.run_site",
    # Of the validation split: choice of the epoch, and of quantile and kernel.
    "epsam.evaluation.threshold_search",
    "epsam.training.decoder",
    "epsam.training.segmenter",
    # An upper bound: prompts from the ground truth, with --prompt ground_truth_random alone.
    "epsam.segment.sam.prompting.rules",
}


class MaskReaders:
    """The functions that open files of a folder, noted while `folder` is set."""

    def __init__(self):
        self.folder, self.names = None, set()
        # There is no way to take such a hook away again; without a folder it does nothing.
        sys.addaudithook(self._note)

    def _note(self, event, arguments):
        if self.folder and event == "open" and str(self.folder) in str(arguments[0]):
            self.names.add(self._calling_function())

    def _calling_function(self):
        """The innermost function above the rooms that read files for others."""
        frame = sys._getframe(2)
        while frame:
            module = frame.f_globals.get("__name__", "")
            if module.startswith("epsam.") and module.split(".")[1] not in ("core", "data"):
                code = frame.f_code
                # Comprehensions are no functions by name.
                if not code.co_name.startswith("<"):
                    return f"{module}.{code.co_name}"
            frame = frame.f_back
        return "somewhere else"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run with ground truth in all splits: its folders, who read masks of train, and each round's
    first weights and the prompts of its pseudo-labels.
    """
    folder, readers = tmp_path_factory.mktemp("trained"), MaskReaders()
    prompts, starts = [], []
    prompt_patches, fit = rounds_module.prompt_patches, rounds_module.fit

    def recording_prompt_patches(*arguments):
        prompted_patches = prompt_patches(*arguments)
        prompts.append(prompted_patches)
        return prompted_patches

    def recording_fit(task, *arguments, **keywords):
        weights = task.model.state_dict()
        starts.append({f"mask_decoder.{name}": value.clone() for name, value in weights.items()})
        return fit(task, *arguments, **keywords)

    with working_in(folder), pytest.MonkeyPatch.context() as patcher:
        patcher.setattr(rounds_module, "prompt_patches", recording_prompt_patches)
        patcher.setattr(rounds_module, "fit", recording_fit)
        write_mini_dataset()
        readers.folder = Path("dataset", "mini", "train", "mask")
        run_training(GRID)
        readers.folder = None
    return SimpleNamespace(
        folder=folder,
        run=RunPaths(folder / "checkpoints" / "mini"),
        dataset=folder / "dataset" / "mini",
        readers=readers.names,
        prompts=prompts,
        starts=starts,
    )


def weights_of(path):
    return torch.load(path, weights_only=True)["model"]


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)


@pytest.mark.slow
@pytest.mark.long
def test_without_true_masks_of_training_patches_every_stage_gives_the_same_bits(trained, tmp_path):
    with working_in(tmp_path):
        write_mini_dataset()
        shutil.rmtree(tmp_path / "dataset" / "mini" / "train" / "mask")
        run_training(GRID)

    run = RunPaths(tmp_path / "checkpoints" / "mini")
    assert same(weights_of(run.classifier), weights_of(trained.run.classifier))
    for number in range(N_ROUNDS):
        decoder, expected = run.round_decoder(number), trained.run.round_decoder(number)
        assert same(weights_of(decoder), weights_of(expected))

    images = list(run.root.glob("masks/**/*.png"))
    # Initial masks of 11 positives, and the pseudo-labels of 6 in each round.
    assert len(images) == 11 + 6 * N_ROUNDS
    for path in [*images, *run.root.glob("activation/*.npz")]:
        assert sha256_of(path) == sha256_of(trained.run.root / path.relative_to(run.root))


@pytest.mark.slow
def test_true_masks_of_training_patches_are_read_by_what_is_listed_alone(trained):
    assert trained.readers == READERS_IN_TRAINING


def test_ground_truth_is_loaded_by_what_is_listed_alone():
    modules = set()
    for path in (REPOSITORY / "src" / "epsam").rglob("*.py"):
        if re.search(r"\.ground_truth\(\)", path.read_text("utf-8")):
            name = path.relative_to(REPOSITORY / "src").with_suffix("")
            modules.add(".".join(name.parts))
    assert modules == MODULES_THAT_LOAD_GROUND_TRUTH


@pytest.mark.slow
def test_the_classifier_is_validated_on_the_validation_split(trained):
    losses = {}
    model = load_classifier(trained.run.classifier, "cpu")
    for split in ("val", "test"):
        patches = list_labelled_patches(trained.dataset / split)
        options, cpu = ClassifierOptions(workers=0), select_device("cpu", "fp32")
        losses[split] = score_classifier(model, patches, SIDE, options, cpu)["loss"]

    rows = read_table(trained.run.metrics, METRIC_COLUMNS)
    values = {
        name: [float(row["value"]) for row in rows if row["name"] == name]
        for name in ("val_loss", "test_loss")
    }
    # The weights are those of the epoch of the lowest validation loss.
    assert min(values["val_loss"]) == pytest.approx(losses["val"], rel=1e-4)
    assert values["test_loss"] == [pytest.approx(losses["test"], rel=1e-4)]
    assert losses["val"] != pytest.approx(losses["test"], rel=1e-3)


@pytest.mark.slow
def test_quantile_and_kernel_are_chosen_by_dice_on_the_validation_split(trained):
    patches = select_positives(list_labelled_patches(trained.dataset / "val"))
    cams = load_cams(trained.run.cams("val"), sha256_of(trained.run.classifier))
    expected = {}
    for quantile in (0.2, 0.6):
        for kernel in (0, 3):
            dice = []
            for patch in patches:
                mask = threshold_and_open(
                    cams.maps[patch.name], SIDE, SIDE, quantile, kernel, "cam"
                )
                truth = patch.ground_truth()
                dice.append(2 * (mask & truth).sum() / (mask.sum() + truth.sum()))
            expected[quantile, kernel] = np.mean(dice)

    rows = read_table(trained.run.grid_search, GRID_SEARCH_COLUMNS)
    assert {row["patches"] for row in rows} == {str(len(patches))} == {"3"}
    for row in rows:
        pair = float(row["quantile"]), int(row["open_kernel"])
        assert float(row["dice"]) == pytest.approx(expected[pair], abs=1e-4)
    rule = read_json(trained.run.mask_rule)
    assert (rule["quantile"], rule["open_kernel"]) == max(expected, key=expected.get)


@pytest.mark.slow
def test_each_round_prompts_with_points_of_its_own(trained):
    cams = load_cams(trained.run.cams("train"), sha256_of(trained.run.classifier))
    assert len(trained.prompts) == N_ROUNDS
    points_by_round = []
    for number, prompted_patches in enumerate(trained.prompts):
        prompted = prompted_patches[0]
        inputs = load_prompt_inputs(trained.run, "train", prompted.patch, cams)
        digest = digest_of_image(read_rgb(trained.folder / prompted.patch.image))
        rng = generator(SEED, number, "pepm", digest)
        weight = scale_to_range(inputs.cam[None]) * inputs.mask
        expected = sample_points(weight, 5, [rng])[0]
        assert np.array_equal(prompted.first_points[:, :2], expected)
        points_by_round.append(prompted.first_points.tobytes())
    assert len(set(points_by_round)) == N_ROUNDS


@pytest.mark.slow
def test_each_round_starts_from_the_pretrained_decoder_not_from_the_round_before(trained):
    sam = torch.load(trained.folder / "random_sam.pth", weights_only=True)
    pretrained = {name: value for name, value in sam.items() if name.startswith("mask_decoder.")}
    assert [same(weights, pretrained) for weights in trained.starts] == [True] * N_ROUNDS
    for number in range(N_ROUNDS):
        assert not same(weights_of(trained.run.round_decoder(number)), pretrained)
