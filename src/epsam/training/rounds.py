"""One round of EP-SAM (paper 3.3, Algorithm 1): a fresh decoder is trained on masks, then predicts
pseudo-labels. Round 0 trains the preliminary decoder on the initial masks.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from epsam.cam.refiner_sam import MAP_SAM_FILE
from epsam.config.decoder import SelectionOptions
from epsam.config.metadata import select_fields
from epsam.config.sam import PromptOptions
from epsam.core.distributed import is_main_process
from epsam.core.files import read_json
from epsam.data.patches import load_median_mpp
from epsam.engine.fit import fit
from epsam.engine.metric_logger import NULL_LOGGER, MetricLogger, open_metric_logger
from epsam.engine.sanity import check_pseudo_labels
from epsam.engine.stage import Stage
from epsam.engine.train_state import TrainState
from epsam.paths import DatasetPaths
from epsam.segment.sam.decoder_weights import save_decoder
from epsam.training.decoder import (
    PromptedPatch,
    build_decoder_schedule,
    build_decoder_task,
    predict_masks,
)
from epsam.training.delete_rounds import delete_rounds_after
from epsam.training.panels import pick_evenly, write_panel
from epsam.training.pseudo_labels import RoundSummary, write_pseudo_labels
from epsam.training.round_context import RoundContext
from epsam.training.round_data import CLASSIFIER_FILE, Example, digest_inputs
from epsam.training.sam_setup import prompt_patches

log = logging.getLogger(__name__)


class DecoderRound:
    """One round of a run, a stage of its own: ask `is_current()`, else `begin()`, `fit_decoder()`,
    `write_pseudo_labels()` and `finish()`.
    """

    def __init__(self, number: int, context: RoundContext, examples: Sequence[Example]) -> None:
        """examples: the masks to train on; the normal patches of --normal_patches are added."""
        self.number = number
        self.name = f"decoder_{number}"
        self._context = context
        self._positives = list(examples)
        self._normals = context.normal_examples(len(examples))
        inputs = digest_inputs(
            context.run,
            context.train,
            [prompted.patch for prompted in context.validation],
            [*self._positives, *self._normals],
            context.sam.checksum,
        )
        self._stage = Stage(self.name, context.options, inputs)
        self._metric_logger: MetricLogger = NULL_LOGGER

    def is_current(self) -> bool:
        """True if the round is complete with these options and inputs."""
        return self._stage.is_current()

    def begin(self) -> None:
        """Remove the completion record of this round and, if another result replaces that of a
        finished round, everything that later rounds have left.

        Raises FinishedWorkError if nobody has agreed to that.
        """
        context = self._context
        # Later rounds build on the pseudo-labels that this round is about to replace. If only its
        # files are damaged, the same ones are written again.
        outdates_later_rounds = self._stage.outdates_later_stages()
        self._stage.begin()
        if outdates_later_rounds and is_main_process():
            delete_rounds_after(context.run, self.number)
        self._metric_logger = open_metric_logger(
            context.run, self.name, context.options.tensorboard
        )
        log.info(
            "round %d: %d masks to fit to, %d normal patches, %d validation patches",
            self.number,
            len(self._positives),
            len(self._normals),
            len(context.validation),
        )

    def fit_decoder(self) -> TrainState:
        """Train a fresh decoder on the examples and save its best epoch."""
        context = self._context
        segmenter = context.sam.segmenter
        # Each round starts from SAM's pretrained decoder, not from the decoder of the round before
        # it (docs/deviations.md, "Fresh decoder each round").
        segmenter.sam.mask_decoder.load_state_dict(context.pretrained_decoder)
        task = build_decoder_task(
            self.name,
            segmenter,
            context.sam.embeddings,
            [*self._positives, *self._normals],
            context.validation,
            context.load_prompt_inputs,
            context.options,
        )
        state = fit(
            task,
            build_decoder_schedule(context.options),
            self._stage.progress_path(self.name),
            metric_logger=self._metric_logger,
        )
        if is_main_process():
            save_decoder(
                context.run.round_decoder(self.number),
                segmenter.sam,
                decoder_metadata(self.number, context),
            )
        return state

    def write_pseudo_labels(self) -> RoundSummary:
        """Predict a mask for each positive training patch and keep those that IDS accepts."""
        context, options = self._context, self._context.options
        prompted_patches = prompt_patches(
            context.run,
            "train",
            context.train,
            context.train_cams,
            options,
            (options.seed, self.number),
        )
        summary = write_pseudo_labels(
            self.number,
            context.run,
            context.sam.segmenter,
            context.sam.embeddings,
            prompted_patches,
            options,
        )
        log.info(
            "round %d: %.1f %% of the pseudo-labels accepted; Dice with the ground truth: all %.3f,"
            " accepted %.3f",
            self.number,
            100 * summary.acceptance,
            summary.dice_all,
            summary.dice_accepted,
        )
        if is_main_process():
            self._write_panel(prompted_patches)
        return summary

    def finish(self, state: TrainState, summary: RoundSummary) -> None:
        """Record the metrics and complete the stage."""
        run, last = self._context.run, state.epoch
        history = [
            *state.history,
            (last, "acceptance", summary.acceptance),
            (last, "pseudo_dice_all", summary.dice_all),
            (last, "pseudo_dice_kept", summary.dice_accepted),
        ]
        self._stage.record(self.name, history)
        self._metric_logger.log_scalars(history)
        self._metric_logger.log_image(self._panel_path, last)

        # Masks and, with --soft_targets, their probabilities.
        labels = [path for path in run.pseudo_masks(self.number).rglob("*") if path.is_file()]
        self._stage.finish(
            [run.round_decoder(self.number), *sorted(labels)],
            check_pseudo_labels(summary.acceptance, summary.mask_counts),
        )

    @property
    def _panel_path(self) -> Path:
        return self._context.run.panels / f"{self.name}.png"

    def _write_panel(self, prompted_patches: Sequence[PromptedPatch]) -> None:
        """Show a few patches with their prompts and the decoder's masks."""
        context = self._context
        rows = [prompted_patches[index] for index in pick_evenly(len(prompted_patches))]
        masks = {}
        predicted = predict_masks(
            context.sam.segmenter,
            context.sam.embeddings,
            rows,
            context.options.batch_size,
            context.options.fill_decoder_holes,
        )
        for prompted, mask in predicted:
            masks[prompted.patch.name] = mask
        write_panel(
            self._panel_path,
            context.run,
            "train",
            [prompted.patch for prompted in rows],
            context.train_cams,
            [prompted.first_points for prompted in rows],
            masks,
        )


def decoder_metadata(number: int, context: RoundContext) -> dict[str, Any]:
    """What inference needs to know of a decoder: its prompts, patches, classifier and SAM."""
    mask_rule = read_json(context.run.mask_rule)
    # Paths on this machine are of no use to whoever gets the decoder.
    mask_rule.pop(CLASSIFIER_FILE, None)
    mask_rule.pop(MAP_SAM_FILE, None)
    return {
        "round": number,
        "sam_model_type": context.options.sam_model_type,
        "sam_sha256": context.sam.checksum,
        "classifier_sha256": context.train_cams.classifier_sha256,
        "patch_size": context.sam.segmenter.frame.patch_size,
        "mpp": load_median_mpp(context.train, DatasetPaths.of(context.options).patch_table),
        **select_fields(PromptOptions, context.options),
        **select_fields(SelectionOptions, context.options),
        **mask_rule,
    }
