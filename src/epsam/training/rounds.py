"""One round of EP-SAM: a fresh decoder fitted to masks, then its pseudo-labels. Round 0 is the
preliminary decoder.
"""

import copy
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from epsam.config.decoder import DecoderOptions, SelectionOptions
from epsam.config.metadata import select_fields
from epsam.config.sam import PromptOptions
from epsam.core.device import select_device
from epsam.core.files import digest_of_files, read_json
from epsam.data.cam_store import CamStore, load_cams
from epsam.data.patches import (
    Patch,
    list_labelled_patches,
    load_median_mpp,
    read_patch_size,
    select_positives,
)
from epsam.engine.fit import fit
from epsam.engine.metric_logger import open_metric_logger
from epsam.engine.sanity import check_pseudo_labels
from epsam.engine.stage import Stage
from epsam.paths import DatasetPaths, RunPaths
from epsam.segment.sam.decoder_weights import save_decoder
from epsam.segment.sam.prompting.rules import PromptInputs
from epsam.training.cams import CLASSIFIER_FILE, find_mask_classifier
from epsam.training.decoder import (
    Example,
    PromptedPatch,
    build_decoder_schedule,
    build_decoder_task,
    predict_masks,
)
from epsam.training.delete_rounds import delete_rounds_after
from epsam.training.normal_patches import (
    NORMAL,
    NormalPatches,
    count_normal_patches,
    prepare_normal_patches,
)
from epsam.training.panels import pick_evenly, write_panel
from epsam.training.pseudo_labels import write_pseudo_labels
from epsam.training.sam_setup import (
    SamSetup,
    initial_mask_path,
    load_prompt_inputs,
    prepare_embeddings,
    prepare_sam,
    prompt_patches,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RoundContext:
    """Everything that stays the same over the rounds of a run."""

    options: DecoderOptions
    run: RunPaths
    setup: SamSetup
    train: list[Patch]
    validation: list[PromptedPatch]
    train_maps: CamStore
    untouched_decoder: dict[str, Any]
    normals: NormalPatches | None = None

    def load_prompt_inputs(self, patch: Patch) -> PromptInputs:
        """What a training patch's prompt may be made of."""
        if self.normals and patch.label == 0:
            return self.normals.load_prompt_inputs(patch)
        return load_prompt_inputs(self.run, "train", patch, self.train_maps)

    def normal_examples(self, others: int) -> list[Example]:
        """The normal patches that are fitted to beside so many others."""
        patches = self.normals.patches if self.normals else []
        return [
            Example(patch, None)
            for patch in patches[: count_normal_patches(self.options.normal_patches, others)]
        ]


def prepare_rounds(options: DecoderOptions) -> RoundContext:
    """Load patches, maps and SAM, and make sure that every embedding is kept."""
    data, run = DatasetPaths.of(options), RunPaths.of(options)
    labelled = list_labelled_patches(data.split("train"))
    train, val = (
        select_positives(labelled),
        select_positives(list_labelled_patches(data.split("val"))),
    )
    (_, classifier), size = find_mask_classifier(run), read_patch_size(train)
    device_config = select_device(options.device, options.precision)
    train_views = max(options.embedding_transforms, options.n_transform)
    wanted = count_normal_patches(options.normal_patches, len(train))
    images = (
        len(train) * train_views
        + wanted * options.embedding_transforms
        + len(val) * options.n_transform
    )
    setup = prepare_sam(options, size, images, options.n_point + options.n_negative, device_config)
    prepare_embeddings(setup, train, train_views)
    prepare_embeddings(setup, val, options.n_transform)
    val_maps = load_cams(run.cams("val"), classifier)
    validation = prompt_patches(run, "val", val, val_maps, options, (options.seed,))
    untouched = copy.deepcopy(setup.segmenter.sam.mask_decoder.state_dict())
    train_maps = load_cams(run.cams("train"), classifier)
    normals = None
    if wanted:
        normal = [patch for patch in labelled if patch.label == 0]
        normals = prepare_normal_patches(run, normal, size, options.batch_size, device_config)
        prepare_embeddings(setup, normals.patches[:wanted], options.embedding_transforms)
    return RoundContext(options, run, setup, train, validation, train_maps, untouched, normals)


def run_round(number: int, bench: RoundContext, examples: Sequence[Example]) -> None:
    """Fit round `number` from SAM's own decoder (methods D35) to `examples`, then write its
    pseudo-labels.

    A round that was completed with the same options and inputs is left as it is.
    """
    options, segmenter = bench.options, bench.setup.segmenter
    name = f"decoder_{number}"
    normal = bench.normal_examples(len(examples))
    stage = Stage(name, options, _inputs(bench, [*examples, *normal]))
    if stage.is_current():
        return
    stage.begin()
    delete_rounds_after(bench.run, number)
    segmenter.sam.mask_decoder.load_state_dict(bench.untouched_decoder)
    log.info(
        "round %d: %d masks to fit to, %d normal patches, %d validation patches",
        number,
        len(examples),
        len(normal),
        len(bench.validation),
    )
    task = build_decoder_task(
        name,
        segmenter,
        bench.setup.embeddings,
        [*examples, *normal],
        bench.validation,
        bench.load_prompt_inputs,
        options,
    )
    metric_logger = open_metric_logger(bench.run, name, options.tensorboard)
    progress = fit(
        task,
        build_decoder_schedule(options),
        stage.progress_path(name),
        metric_logger=metric_logger,
    )
    save_decoder(bench.run.round_decoder(number), segmenter.sam, _facts(number, bench))
    asked = prompt_patches(
        bench.run, "train", bench.train, bench.train_maps, options, (options.seed, number)
    )
    summary = write_pseudo_labels(
        number, bench.run, segmenter, bench.setup.embeddings, asked, options
    )
    log.info(
        "round %d: %.1f %% of the pseudo-labels kept; Dice with truth: all %.3f, kept %.3f",
        number,
        100 * summary.acceptance,
        summary.dice_all,
        summary.dice_accepted,
    )
    last = progress.epoch
    history = [
        *progress.history,
        (last, "acceptance", summary.acceptance),
        (last, "pseudo_dice_all", summary.dice_all),
        (last, "pseudo_dice_kept", summary.dice_accepted),
    ]
    stage.record(name, history)
    metric_logger.log_scalars(history)
    metric_logger.log_image(_write_panel(number, bench, asked), last)
    labels = sorted(path for path in bench.run.pseudo_masks(number).rglob("*") if path.is_file())
    stage.finish(
        [bench.run.round_decoder(number), *labels],
        check_pseudo_labels(summary.acceptance, summary.predicted),
    )


def _write_panel(number: int, bench: RoundContext, asked: Sequence[PromptedPatch]) -> Path:
    chosen = [asked[index] for index in pick_evenly(len(asked))]
    found = predict_masks(
        bench.setup.segmenter, bench.setup.embeddings, chosen, bench.options.batch_size
    )
    masks = {prompted.patch.name: mask for prompted, mask in found}
    target = bench.run.panels / f"decoder_{number}.png"
    write_panel(
        target,
        bench.run,
        "train",
        [p.patch for p in chosen],
        bench.train_maps,
        [p.first_points for p in chosen],
        masks,
    )
    return target


def _inputs(bench: RoundContext, examples: Sequence[Example]) -> dict[str, str]:
    normal = [example.patch for example in examples if example.target is None]
    patches = {"train": bench.train, "val": [asked.patch for asked in bench.validation]}
    further = {
        "soft_targets": [example.soft for example in examples if example.soft],
        "normal_patches": [patch.image for patch in normal],
        "normal_masks": [initial_mask_path(bench.run, NORMAL, patch) for patch in normal],
        "normal_activations": [bench.run.cams(NORMAL)] if normal else [],
    }
    return {
        **{
            split: digest_of_files(patch.image for patch in found)
            for split, found in patches.items()
        },
        **{
            f"{split}_truth": digest_of_files(patch.mask for patch in found if patch.mask)
            for split, found in patches.items()
        },
        "targets": digest_of_files(example.target for example in examples if example.target),
        "activations": digest_of_files([bench.run.cams("train"), bench.run.cams("val")]),
        "train_masks": digest_of_files(
            initial_mask_path(bench.run, "train", patch) for patch in bench.train
        ),
        "validation_masks": digest_of_files(
            initial_mask_path(bench.run, "val", asked.patch) for asked in bench.validation
        ),
        "sam": bench.setup.checksum,
        **{name: digest_of_files(files) for name, files in further.items() if files},
    }


def _facts(number: int, bench: RoundContext) -> dict[str, Any]:
    """What inference has to know: how prompts were made, and for which patches and SAM."""
    return {
        "round": number,
        "sam_model_type": bench.options.sam_model_type,
        "sam_sha256": bench.setup.checksum,
        "classifier_sha256": bench.train_maps.classifier_sha256,
        "patch_size": bench.setup.segmenter.frame.patch_size,
        "mpp": load_median_mpp(bench.train, DatasetPaths.of(bench.options).patch_table),
        **select_fields(PromptOptions, bench.options),
        **select_fields(SelectionOptions, bench.options),
        **{
            name: fact
            for name, fact in read_json(bench.run.mask_rule).items()
            if name != CLASSIFIER_FILE
        },
    }
