"""One round of EP-SAM: a fresh decoder fitted to masks, then its pseudo-labels. Round 0 is the preliminary decoder."""

import copy
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from epsam.data.activations import Activations, load_activations
from epsam.data.patches import Patch, common_size, labelled_patches, positives, resolution_of
from epsam.device import pick_compute
from epsam.facts import facts_of
from epsam.files import contents, read_json
from epsam.options import DecoderOptions, PromptOptions, SelectionOptions
from epsam.paths import DatasetPaths, RunPaths
from epsam.sam.prompt_rules import Hints
from epsam.sam.weights import save_decoder
from epsam.training.board import open_board
from epsam.training.decoder import Example, Prompted, decoder_schedule, decoder_task, predict
from epsam.training.fit import fit
from epsam.training.forgetting import forget_rounds_after
from epsam.training.health import labels_trouble
from epsam.training.maps import CLASSIFIER_FILE, classifier_behind
from epsam.training.normals import NORMAL, Normals, count_of, open_normals
from epsam.training.panels import spread, write_panel
from epsam.training.pseudo_labels import write_pseudo_labels
from epsam.training.stage import Stage
from epsam.training.workbench import (
    SamSetup,
    asked_of,
    hints_of,
    initial_mask_of,
    prepare_embeddings,
    set_up_sam,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Bench:
    """Everything that stays the same over the rounds of a run."""

    options: DecoderOptions
    run: RunPaths
    setup: SamSetup
    train: list[Patch]
    validation: list[Prompted]
    train_maps: Activations
    untouched_decoder: dict[str, Any]
    normals: Normals | None = None

    def hints(self, patch: Patch) -> Hints:
        """What a training patch's prompt may be made of."""
        if self.normals and patch.label == 0:
            return self.normals.hints(patch)
        return hints_of(self.run, "train", patch, self.train_maps)

    def normal_examples(self, others: int) -> list[Example]:
        """The normal patches that are fitted to beside so many others."""
        patches = self.normals.patches if self.normals else []
        return [Example(patch, None) for patch in patches[: count_of(self.options.normal_patches, others)]]


def open_bench(options: DecoderOptions) -> Bench:
    """Load patches, maps and SAM, and make sure that every embedding is kept."""
    data, run = DatasetPaths.of(options), RunPaths.of(options)
    labelled = labelled_patches(data.split("train"))
    train, val = positives(labelled), positives(labelled_patches(data.split("val")))
    (_, classifier), size = classifier_behind(run), common_size(train)
    compute = pick_compute(options.device, options.precision)
    train_views = max(options.embedding_views, options.n_view)
    wanted = count_of(options.normal_patches, len(train))
    images = len(train) * train_views + wanted * options.embedding_views + len(val) * options.n_view
    setup = set_up_sam(options, size, images, options.n_point + options.n_negative, compute)
    prepare_embeddings(setup, train, train_views)
    prepare_embeddings(setup, val, options.n_view)
    val_maps = load_activations(run.activation("val"), classifier)
    validation = asked_of(run, "val", val, val_maps, options, (options.seed,))
    untouched = copy.deepcopy(setup.segmenter.sam.mask_decoder.state_dict())
    train_maps = load_activations(run.activation("train"), classifier)
    normals = None
    if wanted:
        normal = [patch for patch in labelled if patch.label == 0]
        normals = open_normals(run, normal, size, options.batch_size, compute)
        prepare_embeddings(setup, normals.patches[:wanted], options.embedding_views)
    return Bench(options, run, setup, train, validation, train_maps, untouched, normals)


def run_round(number: int, bench: Bench, examples: Sequence[Example]) -> None:
    """Fit round `number` from SAM's own decoder (methods D35) to `examples`, then write its pseudo-labels.

    A round that was completed with the same options and inputs is left as it is.
    """
    options, segmenter = bench.options, bench.setup.segmenter
    name = f"decoder_{number}"
    normal = bench.normal_examples(len(examples))
    stage = Stage(name, options, _inputs(bench, [*examples, *normal]))
    if stage.finished():
        return
    forget_rounds_after(bench.run, number)
    segmenter.sam.mask_decoder.load_state_dict(bench.untouched_decoder)
    log.info("round %d: %d masks to fit to, %d normal patches, %d validation patches", number, len(examples),
             len(normal), len(bench.validation))
    task = decoder_task(name, segmenter, bench.setup.embeddings, [*examples, *normal], bench.validation, bench.hints,
                        options)
    board = open_board(bench.run, name, options.tensorboard)
    progress = fit(task, decoder_schedule(options), stage.unfinished(name), board=board)
    save_decoder(bench.run.round_decoder(number), segmenter.sam, _facts(number, bench))
    asked = asked_of(bench.run, "train", bench.train, bench.train_maps, options, (options.seed, number))
    summary = write_pseudo_labels(number, bench.run, segmenter, bench.setup.embeddings, asked, options)
    log.info("round %d: %.1f %% of the pseudo-labels kept; Dice with truth: all %.3f, kept %.3f", number,
             100 * summary.acceptance, summary.dice_all, summary.dice_kept)
    last = progress.epoch
    history = [*progress.history, (last, "acceptance", summary.acceptance),
               (last, "pseudo_dice_all", summary.dice_all), (last, "pseudo_dice_kept", summary.dice_kept)]
    stage.record(name, history)
    board.figures(history)
    board.picture(_write_panel(number, bench, asked), last)
    labels = sorted(path for path in bench.run.pseudo_masks(number).rglob("*") if path.is_file())
    stage.finish([bench.run.round_decoder(number), *labels], labels_trouble(summary.acceptance, summary.predicted))


def _write_panel(number: int, bench: Bench, asked: Sequence[Prompted]) -> Path:
    chosen = [asked[index] for index in spread(len(asked))]
    found = predict(bench.setup.segmenter, bench.setup.embeddings, chosen, bench.options.batch_size)
    masks = {prompted.patch.name: mask for prompted, mask in found}
    target = bench.run.panels / f"decoder_{number}.png"
    write_panel(target, bench.run, "train", [p.patch for p in chosen], bench.train_maps, [p.prompt for p in chosen],
                masks)
    return target


def _inputs(bench: Bench, examples: Sequence[Example]) -> dict[str, str]:
    normal = [example.patch for example in examples if example.target is None]
    patches = {"train": bench.train, "val": [asked.patch for asked in bench.validation]}
    further = {
        "soft_targets": [example.soft for example in examples if example.soft],
        "normal_patches": [patch.image for patch in normal],
        "normal_masks": [initial_mask_of(bench.run, NORMAL, patch) for patch in normal],
        "normal_activations": [bench.run.activation(NORMAL)] if normal else [],
    }
    return {
        **{split: contents(patch.image for patch in found) for split, found in patches.items()},
        **{f"{split}_truth": contents(patch.mask for patch in found if patch.mask) for split, found in patches.items()},
        "targets": contents(example.target for example in examples if example.target),
        "activations": contents([bench.run.activation("train"), bench.run.activation("val")]),
        "train_masks": contents(initial_mask_of(bench.run, "train", patch) for patch in bench.train),
        "validation_masks": contents(initial_mask_of(bench.run, "val", asked.patch) for asked in bench.validation),
        "sam": bench.setup.checksum,
        **{name: contents(files) for name, files in further.items() if files},
    }


def _facts(number: int, bench: Bench) -> dict[str, Any]:
    """What inference has to know: how prompts were made, and for which patches and SAM."""
    return {
        "round": number,
        "sam_model_type": bench.options.sam_model_type,
        "sam_sha256": bench.setup.checksum,
        "classifier_sha256": bench.train_maps.classifier,
        "patch_size": bench.setup.segmenter.frame.patch_size,
        "mpp": resolution_of(bench.train, DatasetPaths.of(bench.options).patch_table),
        **facts_of(PromptOptions, bench.options),
        **facts_of(SelectionOptions, bench.options),
        **{name: fact for name, fact in read_json(bench.run.mask_rule).items() if name != CLASSIFIER_FILE},
    }
