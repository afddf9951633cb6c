from functools import partial

import numpy as np
import pytest

from epsam.config.decoder import DecoderOptions
from epsam.core.seeding import generator
from epsam.data.d4 import apply_d4
from epsam.data.embeddings import EmbeddingStore, PatchEmbeddings
from epsam.data.images import write_mask, write_probability, write_rgb
from epsam.data.patches import Patch
from epsam.segment.sam.prompting.mask_prompt import make_mask_prompt
from epsam.segment.sam.prompting.point_sampling import sample_points
from epsam.segment.sam.prompting.rules import PromptInputs
from epsam.segment.sam.prompting.sam_prompt import SamPrompt
from epsam.training.decoder import (
    Example,
    PromptedPatch,
    _load_batch,
    build_decoder_schedule,
    predict_masks,
    score_validation,
)
from epsam.training.training_prompts import sample_training_prompts
from support import arrays

SIDE = 16


block = partial(arrays.block, SIDE)

TARGET, INITIAL = block(slice(0, 4), slice(0, 8)), block(slice(0, 8), slice(8, 14))
TRUTH = block(slice(9, 15), slice(0, 5))
INPUTS = PromptInputs(INITIAL * 0.5, INITIAL, lambda: TRUTH)


def training_points(**options):
    prompt, target = sample_prompt(TARGET, INPUTS, DecoderOptions(n_point=6, **options), 3)
    assert prompt.cam is None
    assert np.array_equal(target, TARGET)
    return prompt.points


def sample_prompt(target, inputs, options, number):
    """The prompt of a step of one patch, and the part of the target that it is for."""
    (prompt,), (prompted_target,) = sample_training_prompts(
        target[None], lambda index: inputs, options, [generator(number, "t")]
    )
    return prompt, prompted_target


def is_within(prompt, mask):
    return all(mask[int(y), int(x)] for x, y, label in prompt if label == 1)


def test_by_default_points_come_from_the_target_mask_whatever_the_prompt_rule():
    expected = sample_points(TARGET[None], 6, [generator(3, "t")])[0]
    assert np.array_equal(training_points()[:, :2], expected)
    assert np.array_equal(training_points(prompt="box")[:, :2], expected)


def test_training_can_prompt_as_inference_does():
    assert is_within(training_points(train_prompt="pepm"), INITIAL)
    assert is_within(training_points(train_prompt="pepm", prompt="box"), INITIAL)
    assert training_points(train_prompt="same", prompt="box").tolist() == [[8, 0, 2], [13, 7, 3]]
    assert is_within(training_points(train_prompt="same", prompt="ground_truth_random"), TRUTH)
    assert training_points(train_prompt="box").tolist() == [[8, 0, 2], [13, 7, 3]]


def test_without_an_initial_mask_the_rule_is_applied_to_the_target():
    empty = PromptInputs(np.zeros((SIDE, SIDE)), np.zeros((SIDE, SIDE), bool))
    for rule, rows in (("pepm", 6), ("box", 2)):
        options = DecoderOptions(n_point=6, train_prompt="same", prompt=rule)
        rngs = [generator(3, "t", number) for number in range(3)]
        prompts, _ = sample_training_prompts(
            np.stack([TARGET] * 3), [INPUTS, empty, INPUTS].__getitem__, options, rngs
        )
        assert [len(prompt.points) for prompt in prompts] == [rows] * 3
        assert is_within(prompts[0].points, INITIAL)
        assert all(TARGET[int(y), int(x)] for x, y, _ in prompts[1].points)


def test_negatives_lie_outside_the_target():
    prompt = training_points(n_negative=5)
    assert len(prompt) == 11
    assert not any(TARGET[int(y), int(x)] for x, y, label in prompt if label == 0)


LEFT, RIGHT = block(slice(0, 6), slice(0, 5)), block(slice(2, 9), slice(9, 15))
TWO_REGIONS = PromptInputs(
    np.where(LEFT, 0.5, np.where(RIGHT, 1.0, 0.1)), LEFT | RIGHT, lambda: TRUTH
)


def test_a_step_prompts_for_one_region_and_its_target_is_what_touches_it():
    target = block(slice(4, 8), slice(3, 7)) | block(slice(12, 14), slice(9, 12))
    options = DecoderOptions(train_prompt="same", prompt="box", n_region=2)
    boxes = set()
    for number in range(12):
        prompt, prompted_target = sample_prompt(target, TWO_REGIONS, options, number)
        boxes.add(tuple(prompt.points[:, :2].ravel().tolist()))
        # The target's first region touches the left region of the initial mask and reaches beyond
        # it; nothing touches the right one.
        is_left = prompt.points[0, 0] == 0
        expected = block(slice(4, 8), slice(3, 7)) if is_left else block([], [])
        assert np.array_equal(prompted_target, expected)
    assert boxes == {(0, 0, 4, 5), (9, 2, 14, 8)}


def test_the_mask_prompt_is_the_cam_whatever_the_points_are_sampled_from():
    for train_prompt in ("mask", "same"):
        options = DecoderOptions(mask_prompt=True, train_prompt=train_prompt, n_point=4)
        prompt, prompted_target = sample_prompt(TARGET, INPUTS, options, 3)
        assert np.array_equal(prompt.cam, make_mask_prompt(INPUTS, INPUTS))
        assert np.array_equal(prompted_target, TARGET)


@pytest.mark.parametrize("epoch", range(6))
def test_target_and_prompt_are_flipped_together(tmp_path, epoch):
    image, target = tmp_path / "image" / "a_1.png", tmp_path / "target" / "a_1.png"
    write_rgb(image, np.zeros((SIDE, SIDE, 3), np.uint8))
    write_mask(target, TARGET)

    def embeddings(patch, transform):
        return {"image": np.zeros((1, 1, 1), np.float16)}

    options = DecoderOptions(
        embedding_transforms=8, train_prompt="same", prompt="mask_random", n_point=20
    )
    inputs = PromptInputs(TARGET * 1.0, TARGET)
    batch = _load_batch(
        "decoder_0",
        [Example(Patch("a_1", 1, image, None), target)],
        embeddings,
        lambda patch: inputs,
        options,
        epoch,
    )
    transformed = batch.targets[0].numpy() > 0
    assert transformed.sum() == TARGET.sum()
    assert is_within(batch.prompts[0].points, transformed)


@pytest.mark.parametrize("transform", range(8))
def test_embedding_target_and_point_of_a_step_are_transformed_alike(
    tmp_path, monkeypatch, transform
):
    marked, pixel = block([2], [5]), np.zeros((SIDE, SIDE, 3), np.uint8)
    pixel[marked] = 255
    patch, target = (
        Patch("a_1", 1, tmp_path / "image" / "a_1.png", None),
        tmp_path / "target" / "a_1.png",
    )
    write_rgb(patch.image, pixel)
    write_mask(target, marked)

    # An encoder whose embedding is the image itself.
    def encode(images):
        return [{"image": image.transpose(2, 0, 1).astype(np.float16)} for image in images]

    store = EmbeddingStore(tmp_path / "store", encode, ["image"])
    embeddings = PatchEmbeddings(store, SIDE)
    embeddings.prepare([patch], 8, 1)
    monkeypatch.setattr("epsam.training.decoder.draw_d4", lambda n_transforms, rng: transform)
    batch = _load_batch(
        "decoder_0",
        [Example(patch, target)],
        embeddings,
        lambda patch: PromptInputs(marked * 1.0, marked),
        DecoderOptions(embedding_transforms=8, train_prompt="same", n_point=1),
        0,
    )
    # Row 2, column 5 of 16, mirrored left to right, upside down, and turned by quarters
    # counter-clockwise.
    row, column = [(2, 5), (2, 10), (13, 10), (13, 5), (10, 2), (10, 13), (5, 13), (5, 2)][
        transform
    ]
    assert np.argwhere(batch.embeddings[0]["image"][0]).tolist() == [[row, column]]
    assert np.argwhere(batch.targets[0].numpy()).tolist() == [[row, column]]
    assert batch.prompts[0].points.tolist() == [[column, row, 1]]


def one_batch(tmp_path, example, inputs, **options):
    def embeddings(patch, transform):
        return {"image": np.zeros((1, 1, 1), np.float16)}

    return _load_batch(
        "decoder_0",
        [example],
        embeddings,
        lambda patch: inputs,
        DecoderOptions(embedding_transforms=1, **options),
        0,
    )


@pytest.mark.parametrize("train_prompt", ["mask", "same"])
def test_a_normal_patch_is_prompted_where_the_classifier_is_wrong_and_has_an_empty_target(
    tmp_path, train_prompt
):
    patch = Patch("a_0", 0, tmp_path / "a_0.png", None)
    batch = one_batch(tmp_path, Example(patch, None), INPUTS, train_prompt=train_prompt, n_point=6)
    assert batch.targets.shape == (1, SIDE, SIDE)
    assert not batch.targets.any()
    assert len(batch.prompts[0].points) == 6
    assert is_within(batch.prompts[0].points, INITIAL)


def test_a_soft_target_is_the_probability_of_the_prompted_regions(tmp_path):
    target, soft = tmp_path / "target.png", tmp_path / "soft.png"
    write_mask(target, LEFT | RIGHT)
    probability = np.where(LEFT, 0.8, np.where(RIGHT, 0.6, 0.2))
    write_probability(soft, probability)
    example = Example(Patch("a_1", 1, tmp_path / "a_1.png", None), target, soft)
    all_regions = one_batch(tmp_path, example, TWO_REGIONS, soft_targets=True)
    assert np.allclose(all_regions.targets[0], probability, atol=1 / 510)
    one_region = one_batch(
        tmp_path,
        example,
        TWO_REGIONS,
        soft_targets=True,
        train_prompt="same",
        prompt="box",
        n_region=1,
    )
    assert one_region.prompts[0].points[:, 0].tolist() == [9, 14]
    assert np.allclose(one_region.targets[0], np.where(LEFT, 0, probability), atol=1 / 510)


class FixedSegmenter:
    def predict_probabilities(self, embeddings, prompts):
        return np.stack([TARGET * np.float32(0.9) for _ in embeddings])


def test_the_epoch_can_be_chosen_by_ground_truth_by_initial_masks_or_not_at_all(tmp_path):
    image, truth, initial = (tmp_path / kind / "a_1.png" for kind in ("image", "mask", "initial"))
    write_rgb(image, np.zeros((SIDE, SIDE, 3), np.uint8))
    write_mask(truth, TARGET)
    write_mask(initial, INITIAL)
    prompted = [
        PromptedPatch(Patch("a_1", 1, image, truth), ((0, ()),), initial),
        PromptedPatch(Patch("b_1", 1, image, None), ((0, ()),), initial),
    ]
    expected = {"ground_truth": "val_dice", "pseudo": "val_pseudo_dice", "last": ""}
    for select_on, monitor in expected.items():
        options = DecoderOptions(select_on=select_on)
        metrics = score_validation(
            FixedSegmenter(), lambda patch, transform: patch, prompted, options
        )
        assert build_decoder_schedule(options).monitor == monitor
        assert metrics["val_dice"] == pytest.approx(1)
        assert metrics.get("val_pseudo_dice", 0) == pytest.approx(0, abs=1e-4)
        assert set(metrics) == {"val_dice", "val_iou"} | (
            {"val_pseudo_dice"} if select_on == "pseudo" else set()
        )
    no_ground_truth = score_validation(
        FixedSegmenter(), lambda patch, transform: patch, prompted[1:], DecoderOptions()
    )
    assert np.isnan(no_ground_truth["val_dice"])


def test_the_rate_falls_along_half_a_cosine_over_the_steps_of_all_epochs():
    lr_factor = build_decoder_schedule(DecoderOptions(epoch=20)).lr_factor
    # 400 steps: the factor is 1 at first, a half in the middle, a quarter of the way (1 + cos 45°)
    # / 2.
    assert [lr_factor(step, 20) for step in (0, 100, 200)] == pytest.approx([1, 0.853553, 0.5])
    assert lr_factor(1, 20) < 1
    assert 0 < lr_factor(399, 20) < 1e-3


class CornerSegmenter:
    """Predicts the prompt's label as probability, at the transformed upper left corner."""

    def predict_probabilities(self, embeddings, prompts):
        probabilities = np.zeros((len(prompts), SIDE, SIDE), np.float32)
        for index, (transform, (prompt,)) in enumerate(zip(embeddings, prompts, strict=True)):
            corner = np.zeros((SIDE, SIDE), np.float32)
            corner[0, 1] = prompt.points[0, 2]
            probabilities[index] = apply_d4(corner, transform)
        return probabilities


def test_masks_of_several_prompts_and_transforms_are_transformed_back_and_averaged():
    def prompts(value):
        return (SamPrompt(np.array([[0, 0, value]], np.float32)),)

    patches = [Patch(name, 1, None, None) for name in "ab"]
    # Means: (1 + 0 + 0.6) / 3 = 0.53 for the first, (0.9 + 0 + 0.5) / 3 = 0.47 for the second.
    prompted = [
        PromptedPatch(patches[0], ((0, prompts(1.0)), (0, prompts(0.0)), (5, prompts(0.6)))),
        PromptedPatch(patches[1], ((0, prompts(0.9)), (0, prompts(0.0)), (5, prompts(0.5)))),
    ]
    masks = [
        mask
        for _, mask in predict_masks(
            CornerSegmenter(), lambda patch, transform: transform, prompted, 4
        )
    ]
    expected = np.zeros((SIDE, SIDE), bool)
    expected[0, 1] = True
    assert np.array_equal(masks[0], expected)
    assert not masks[1].any()


class RingSegmenter:
    """Predicts a ring of probability 0.9 round a pixel of 0.1."""

    def predict_probabilities(self, embeddings, prompts):
        probability = np.full((SIDE, SIDE), 0.9, np.float32)
        probability[2, 2] = 0.1
        return np.stack([probability for _ in embeddings])


@pytest.mark.parametrize("fill_holes", [False, True])
def test_holes_are_filled_on_request(tmp_path, fill_holes):
    image, truth = tmp_path / "image" / "a_1.png", tmp_path / "mask" / "a_1.png"
    write_rgb(image, np.zeros((SIDE, SIDE, 3), np.uint8))
    write_mask(truth, np.ones((SIDE, SIDE), bool))
    prompted = [PromptedPatch(Patch("a_1", 1, image, truth), ((0, ()),))]

    def embeddings(patch, transform):
        return patch

    ((_, mask),) = predict_masks(RingSegmenter(), embeddings, prompted, 4, fill_holes)
    assert mask[2, 2] == fill_holes
    options = DecoderOptions(fill_decoder_holes=fill_holes)
    metrics = score_validation(RingSegmenter(), embeddings, prompted, options)
    # One pixel short of the whole patch, or none.
    n_hole = 0 if fill_holes else 1
    assert metrics["val_iou"] == pytest.approx(1 - n_hole / SIDE**2, abs=1e-4)
