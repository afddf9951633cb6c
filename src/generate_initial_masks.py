"""Step 3: classifier → activation maps and initial masks (paper 3.2.2)."""

import logging
import shutil
from pathlib import Path

from command_line import run_stage
from epsam.classifier.weights import load_classifier
from epsam.data.activations import save_activations
from epsam.data.patches import common_size, labelled_patches, positives
from epsam.device import pick_compute
from epsam.files import sha256_of
from epsam.options import SPLITS, MaskOptions
from epsam.paths import DatasetPaths, RunPaths, run_folder
from epsam.training.health import MaskCounts
from epsam.training.maps import activations_of, write_initial_masks
from epsam.training.panels import spread, write_panel
from epsam.training.stage import Stage, names_and_sizes
from epsam.training.workbench import initial_mask_of

log = logging.getLogger(__name__)


def main(options: MaskOptions) -> None:
    """Write the maps and masks of every patch with tumour, in all splits that there are."""
    data, run = DatasetPaths.of(options), RunPaths.of(options)
    patches = {split: positives(labelled_patches(data.split(split))) for split in SPLITS}
    size = common_size(patches["train"])
    classifier = Path(options.resnet_checkpoint) if options.resnet_checkpoint else run.classifier
    compute = pick_compute(options.device, options.precision)
    model = load_classifier(classifier, compute.device)
    checksum = sha256_of(classifier)
    listing = {split: names_and_sizes(p.image for p in found) for split, found in patches.items()}
    stage = Stage("generate_initial_masks", options, {"classifier": checksum, **listing})
    if stage.finished():
        return

    if not options.resnet_checkpoint:
        stage.follows("train_classifier")
    shutil.rmtree(run.initial_masks("train").parent, ignore_errors=True)
    counts: dict[str, MaskCounts] = {}
    for split, found in patches.items():
        activations = activations_of(model, checksum, found, size, options, compute)
        counts[split] = write_initial_masks(run, split, activations, size, options)
        save_activations(run.activation(split), activations)
        chosen = [found[index] for index in spread(len(found))]
        write_panel(run.panels / f"initial_masks_{split}.png", run, split, chosen, activations)
        log.info("initial masks: %s, %d written, %d of them empty", split, len(found), counts[split].empty)
    files = [initial_mask_of(run, split, patch) for split, found in patches.items() for patch in found]
    stage.finish([*map(run.activation, SPLITS), *files], counts["train"].trouble("initial masks"))


if __name__ == "__main__":
    run_stage("generate_initial_masks", MaskOptions, main, owns=run_folder)
