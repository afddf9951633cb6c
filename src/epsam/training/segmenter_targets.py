"""What a segmenter is trained on: patches and their target masks, by --targets."""

from collections.abc import Sequence

from epsam.config.segmenter import SegmenterOptions
from epsam.core.errors import TrainingError
from epsam.data.patches import Patch
from epsam.paths import LAYERS, RunPaths
from epsam.training.round_data import Example, load_accepted_examples, load_initial_examples
from epsam.training.source_run import (
    find_source_run,
    require_same_patches,
    require_source_run,
)


def load_targets(
    options: SegmenterOptions, run: RunPaths, positives: Sequence[Patch], normals: Sequence[Patch]
) -> list[Example]:
    """The training patches and their target masks (--targets), then the normal ones, if wanted.

    Raises TrainingError if there is no mask to train on.
    """
    if options.targets == "ground_truth":
        examples = [Example(patch, patch.mask) for patch in positives if patch.mask]
    elif options.targets == "initial":
        examples = load_initial_examples(run, positives)
    elif options.targets == "layers":
        examples = _load_layer_examples(run, positives)
    elif options.from_run:
        number = require_source_run(options)
        source = find_source_run(options)
        require_same_patches(source, number, positives)
        examples = load_accepted_examples(number + 1, source, positives, "replace")
    else:
        examples = load_accepted_examples(_next_round(run), run, positives, "replace")
    if not examples:
        raise TrainingError(
            f"--targets {options.targets}: no training patch has such a mask; take other targets"
        )
    if options.normal_patches:
        examples += [Example(patch, None) for patch in normals]
    return examples


def _next_round(run: RunPaths) -> int:
    """One more than the newest round with pseudo-labels. Raises TrainingError without any."""
    number = 0
    while run.pseudo_masks(number).is_dir():
        number += 1
    if not number:
        raise TrainingError(
            f"{run.pseudo_masks(0)}: no pseudo-labels; run finetune_decoder.py, or take other "
            "--targets"
        )
    return number


def _load_layer_examples(run: RunPaths, positives: Sequence[Patch]) -> list[Example]:
    """The masks of the classifier's layers. Raises TrainingError if one of them is missing."""
    examples = []
    for patch in positives:
        layers = tuple(run.layer_masks(number) / f"{patch.name}.png" for number in LAYERS)
        for path in layers:
            if not path.is_file():
                raise TrainingError(
                    f"{path.parent}: no masks of the classifier's layers; run "
                    "generate_initial_masks.py with a classifier of --weak_model wsss_tissue"
                )
        examples.append(Example(patch, layers[-1], layers=layers))
    return examples
