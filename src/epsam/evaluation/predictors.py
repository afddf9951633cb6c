"""The predictors of a run: initial masks, zero-shot SAM, the preliminary decoder, and each round's.

A predictor's name is that in the column `what` of evaluation.csv.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from epsam.config.evaluation import EvaluateOptions
from epsam.config.metadata import merge_fields
from epsam.config.sam import PromptOptions
from epsam.core.checkpoints import load_plain
from epsam.core.device import DeviceConfig, select_device
from epsam.core.distributed import current_world, gather_parts, part_of_process
from epsam.core.files import sha256_of
from epsam.data.cam_store import CamMap
from epsam.data.images import Mask, read_mask
from epsam.data.patches import Patch
from epsam.paths import RunPaths
from epsam.segment.registry import LoadedSegmenter, load_segmenter
from epsam.segment.sam.decoder_weights import check_same_sam, load_decoder
from epsam.segment.sam.specs import find_checkpoint
from epsam.tables import INITIAL, PRELIMINARY, ZERO_SHOT
from epsam.training.decoder import PromptedPatch, predict_probabilities
from epsam.training.round_data import initial_mask_path
from epsam.training.sam_setup import SamSetup, prepare_embeddings, prepare_sam
from epsam.training.segmenter import predict_patches


class Predictor(Protocol):
    """What gives a mask for each patch; evaluation scores all alike and knows no method.

    name: in the column `what` of evaluation.csv.
    """

    @property
    def name(self) -> str: ...

    def masks(self, split: str, patches: Sequence[Patch]) -> list[Mask]:
        """Masks (side, side) of patches of a split, in their order."""
        ...


@runtime_checkable
class ProbabilityPredictor(Predictor, Protocol):
    """A predictor whose masks are probabilities above a threshold."""

    def probabilities(self, split: str, patches: Sequence[Patch]) -> Iterator[CamMap]:
        """Tumour probabilities (side, side) of patches of a split, in their order."""
        ...

    def with_threshold(self, threshold: float) -> "ProbabilityPredictor":
        """The same predictor with another threshold."""
        ...


@dataclass(frozen=True)
class InitialMasks:
    """The masks that step 3 has made from CAMs."""

    run: RunPaths
    name: str = INITIAL

    def masks(self, split: str, patches: Sequence[Patch]) -> list[Mask]:
        """See `Predictor`."""
        return [read_mask(initial_mask_path(self.run, split, patch)) for patch in patches]


@dataclass(frozen=True)
class SamPredictors:
    """SAM ready to decode with each of a run's decoders.

    decoder_files: by predictor; None stands for SAM's pretrained decoder. prompt_options: how each
    predictor is prompted. threshold: the probability above which a pixel is tumour.
    """

    setup: SamSetup
    decoder_files: dict[str, Path | None]
    prompt_options: dict[str, PromptOptions]
    pretrained_decoder: dict[str, Any]
    batch_size: int
    threshold: float = 0.5

    def predict_masks(
        self, predictor: str, prompted_patches: Sequence[PromptedPatch]
    ) -> list[Mask]:
        """Masks (side, side) of the patches, by the decoder of that predictor."""
        probabilities = self.predict_probabilities(predictor, prompted_patches)
        return [probability > self.threshold for probability in probabilities]

    def predict_probabilities(
        self, predictor: str, prompted_patches: Sequence[PromptedPatch]
    ) -> Iterator[CamMap]:
        """Tumour probabilities (side, side) of the patches, by the decoder of that predictor."""
        sam = self.setup.segmenter.sam
        decoder_file = self.decoder_files[predictor]
        if decoder_file is None:
            sam.mask_decoder.load_state_dict(self.pretrained_decoder)
        else:
            load_decoder(decoder_file, sam)

        # SAM's output depends slightly on padding points: pad as in the decoder's own training.
        options = self.prompt_options[predictor]
        segmenter = self.setup.segmenter.padded_to(options.n_point + options.n_negative)
        embeddings = self.setup.embeddings
        predictions = predict_probabilities(
            segmenter, embeddings, prompted_patches, self.batch_size, options.fill_decoder_holes
        )
        for _, probability in predictions:
            yield probability


@dataclass(frozen=True)
class DecoderPredictor:
    """One of a run's decoders. prompted_patches: by split, prompted for this decoder."""

    name: str
    decoders: SamPredictors
    prompted_patches: Mapping[str, Sequence[PromptedPatch]]

    def masks(self, split: str, patches: Sequence[Patch]) -> list[Mask]:
        """See `Predictor`."""
        return self.decoders.predict_masks(self.name, self._prompted(split, patches))

    def probabilities(self, split: str, patches: Sequence[Patch]) -> Iterator[CamMap]:
        """See `ProbabilityPredictor`."""
        return self.decoders.predict_probabilities(self.name, self._prompted(split, patches))

    def with_threshold(self, threshold: float) -> "DecoderPredictor":
        """See `ProbabilityPredictor`."""
        return replace(self, decoders=replace(self.decoders, threshold=threshold))

    def _prompted(self, split: str, patches: Sequence[Patch]) -> list[PromptedPatch]:
        by_name = {prompted.patch.name: prompted for prompted in self.prompted_patches[split]}
        return [by_name[patch.name] for patch in patches]


@dataclass(frozen=True)
class SegmenterPredictor:
    """The segmenter of train_segmenter.py, under its name in `methods.SEGMENTERS`."""

    segmenter: LoadedSegmenter
    device_config: DeviceConfig
    batch_size: int
    threshold: float = 0.5

    @property
    def name(self) -> str:
        return self.segmenter.name

    def masks(self, split: str, patches: Sequence[Patch]) -> list[Mask]:
        """See `Predictor`."""
        probabilities = self.probabilities(split, patches)
        return [probability > self.threshold for probability in probabilities]

    def score(self, patches: Sequence[Patch]) -> dict[str, float]:
        """The tumour probability of each patch as a whole, by its name: its largest pixel's, as
        inference gates tiles by a segmenter alone.
        """
        scores = {}
        for patch, probability in zip(patches, self._predict(patches), strict=True):
            scores[patch.name] = float(probability.max())
        return scores

    def probabilities(self, split: str, patches: Sequence[Patch]) -> Iterator[CamMap]:
        """See `ProbabilityPredictor`."""
        return self._predict(patches)

    def with_threshold(self, threshold: float) -> "SegmenterPredictor":
        """See `ProbabilityPredictor`."""
        return replace(self, threshold=threshold)

    def _predict(self, patches: Sequence[Patch]) -> Iterator[CamMap]:
        return predict_patches(
            self.segmenter.model,
            patches,
            self.segmenter.patch_size,
            self.batch_size,
            self.device_config,
        )


def load_segmenter_predictor(options: EvaluateOptions, run: RunPaths) -> SegmenterPredictor:
    """The run's segmenter, ready to be scored."""
    device_config = select_device(options.device, options.precision)
    segmenter = load_segmenter(run.segmenter, device_config, options, Path(options.checkpoint_root))
    return SegmenterPredictor(segmenter, device_config, options.batch_size)


def list_decoders(run: RunPaths) -> dict[str, Path | None]:
    """The run's decoder files by predictor, in the order of training."""
    files: dict[str, Path | None] = {ZERO_SHOT: None, PRELIMINARY: run.preliminary_decoder}
    # Rounds are numbered without gaps; the first file that is missing ends them.
    number = 1
    while run.round_decoder(number).is_file():
        files[f"round {number}"] = run.round_decoder(number)
        number += 1
    return files


def load_preliminary_metadata(run: RunPaths) -> dict[str, Any]:
    """The metadata of the run's preliminary decoder; empty if the run ends with its initial
    masks.
    """
    if not run.preliminary_decoder.is_file():
        return {}
    metadata: dict[str, Any] = load_plain(run.preliminary_decoder)["made_with"]
    return metadata


def metadata_by_predictor(
    run: RunPaths, preliminary: Mapping[str, Any]
) -> dict[str, Mapping[str, Any]]:
    """The options that each predictor was trained with.

    What a decoder's file lacks is as in `preliminary`, the metadata of the preliminary decoder.
    """
    # The initial masks have no decoder, but are scored on the same prompted patches.
    metadata = {INITIAL: preliminary}
    if not preliminary:
        return metadata

    for predictor, decoder_file in list_decoders(run).items():
        of_file = load_plain(decoder_file).get("made_with", {}) if decoder_file else {}
        metadata[predictor] = {**preliminary, **of_file}
    return metadata


def prompt_options_by_predictor(
    metadata: Mapping[str, Mapping[str, Any]], overrides: Mapping[str, Any]
) -> dict[str, PromptOptions]:
    """How each predictor is prompted: as `overrides` say, else as in its own training."""
    options = {}
    for predictor, trained_with in metadata.items():
        options[predictor] = merge_fields(PromptOptions, overrides, trained_with)
    return options


def open_predictors(
    options: EvaluateOptions,
    run: RunPaths,
    patches_by_split: Mapping[str, Sequence[Patch]],
    patch_size: int,
    prompt_options: dict[str, PromptOptions],
) -> SamPredictors:
    """Load SAM, and encode all patches in each TTA transform that any predictor uses."""
    n_transforms = max(group.n_transform for group in prompt_options.values())
    n_patches = sum(map(len, patches_by_split.values()))
    preliminary = prompt_options[PRELIMINARY]
    setup = prepare_sam(
        options,
        patch_size,
        n_patches * n_transforms,
        preliminary.n_point + preliminary.n_negative,
        select_device(options.device, options.precision),
    )
    for patches in patches_by_split.values():
        prepare_embeddings(setup, patches, n_transforms)

    # Loading a trained decoder overwrites the pretrained one.
    pretrained_decoder = copy.deepcopy(setup.segmenter.sam.mask_decoder.state_dict())
    return SamPredictors(
        setup, list_decoders(run), prompt_options, pretrained_decoder, options.batch_size
    )


def check_decoders(run: RunPaths, options: EvaluateOptions) -> None:
    """Raise WeightsError if a decoder of the run was trained with another SAM than the options'."""
    if not run.preliminary_decoder.is_file():
        return
    name, folder = options.sam_model_type, Path(options.checkpoint_root)
    weights = find_checkpoint(name, options.sam_checkpoint, folder)
    checksum = sha256_of(weights)
    for decoder_file in list_decoders(run).values():
        if decoder_file is not None:
            metadata = load_plain(decoder_file).get("made_with", {})
            check_same_sam(decoder_file, metadata, name, weights, checksum)


def predict_shared(
    predictor: Predictor, split: str, patches: Sequence[Patch], batch_size: int
) -> list[Mask]:
    """The predictor's masks of patches, which processes share by whole batches; all of them get all
    masks.
    """
    if current_world().size == 1:
        return predictor.masks(split, patches)
    starts = range(0, len(patches), batch_size)
    batches = [patches[start : start + batch_size] for start in starts]
    predicted = [predictor.masks(split, batch) for batch in part_of_process(batches)]
    masks: list[Mask] = []
    for masks_of_batch in gather_parts(predicted):
        masks += masks_of_batch
    return masks
