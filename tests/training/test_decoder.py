import numpy as np
import pytest

from epsam.config.decoder import DecoderOptions
from epsam.core.seeding import generator
from epsam.data.d4 import apply_d4
from epsam.data.embeddings import EmbeddingStore, PatchEmbeddings
from epsam.data.images import write_mask, write_probability, write_rgb
from epsam.data.patches import Patch
from epsam.segment.sam.prompting.point_sampling import sample_points
from epsam.segment.sam.prompting.rules import PromptInputs
from epsam.segment.sam.prompting.sam_prompt import SamPrompt, mask_prompt
from epsam.training.decoder import (
    Example,
    PromptedPatch,
    _batch,
    decoder_schedule,
    predict_masks,
    training_prompts,
    validation_metrics,
)

SIDE = 16


def block(rows, columns):
    mask = np.zeros((SIDE, SIDE), bool)
    mask[rows, columns] = True
    return mask


TARGET, SEEN = block(slice(0, 4), slice(0, 8)), block(slice(0, 8), slice(8, 14))
TRUTH = block(slice(9, 15), slice(0, 5))
HINTS = PromptInputs(SEEN * 0.5, SEEN, lambda: TRUTH)


def asked(**options):
    query, target = ask(TARGET, HINTS, DecoderOptions(n_point=6, **options), 3)
    assert query.cam is None
    assert np.array_equal(target, TARGET)
    return query.points


def ask(target, seen, options, number):
    """The query of a step of one patch, and what it is fitted to."""
    (query,), (fitted,) = training_prompts(
        target[None], lambda index: seen, options, [generator(number, "t")]
    )
    return query, fitted


def within(prompt, mask):
    return all(mask[int(y), int(x)] for x, y, label in prompt if label == 1)


def test_by_default_points_come_from_the_mask_that_is_fitted_to_whatever_the_prompt_rule():
    expected = sample_points(TARGET[None], 6, [generator(3, "t")])[0]
    assert np.array_equal(asked()[:, :2], expected)
    assert np.array_equal(asked(prompt="box")[:, :2], expected)


def test_training_can_be_asked_as_inference_is():
    assert within(asked(train_prompt="pepm"), SEEN)
    assert within(asked(train_prompt="pepm", prompt="box"), SEEN)
    assert asked(train_prompt="same", prompt="box").tolist() == [[8, 0, 2], [13, 7, 3]]
    assert within(asked(train_prompt="same", prompt="ground_truth_random"), TRUTH)
    assert asked(train_prompt="box").tolist() == [[8, 0, 2], [13, 7, 3]]


def test_where_nothing_is_seen_the_rule_is_applied_to_the_target():
    blind = PromptInputs(np.zeros((SIDE, SIDE)), np.zeros((SIDE, SIDE), bool))
    for rule, rows in (("pepm", 6), ("box", 2)):
        options = DecoderOptions(n_point=6, train_prompt="same", prompt=rule)
        rngs = [generator(3, "t", number) for number in range(3)]
        queries, _ = training_prompts(
            np.stack([TARGET] * 3), [HINTS, blind, HINTS].__getitem__, options, rngs
        )
        prompts = [query.points for query in queries]
        assert [len(prompt) for prompt in prompts] == [rows] * 3
        assert within(prompts[0], SEEN)
        assert all(TARGET[int(y), int(x)] for x, y, _ in prompts[1])


def test_negatives_lie_outside_the_target():
    prompt = asked(n_negative=5)
    assert len(prompt) == 11
    assert not any(TARGET[int(y), int(x)] for x, y, label in prompt if label == 0)


LEFT, RIGHT = block(slice(0, 6), slice(0, 5)), block(slice(2, 9), slice(9, 15))
ISLANDS = PromptInputs(np.where(LEFT, 0.5, np.where(RIGHT, 1.0, 0.1)), LEFT | RIGHT, lambda: TRUTH)


def test_a_step_asks_about_one_region_and_is_fitted_to_what_touches_it():
    target = block(slice(4, 8), slice(3, 7)) | block(slice(12, 14), slice(9, 12))
    options = DecoderOptions(train_prompt="same", prompt="box", n_region=2)
    seen = set()
    for number in range(12):
        query, fitted = ask(target, ISLANDS, options, number)
        seen.add(tuple(query.points[:, :2].ravel().tolist()))
        # The target's first region touches the left island and reaches beyond it; nothing touches
        # the right one.
        first = query.points[0, 0] == 0
        assert np.array_equal(fitted, block(slice(4, 8), slice(3, 7)) if first else block([], []))
    assert seen == {(0, 0, 4, 5), (9, 2, 14, 8)}


def test_the_mask_prompt_is_the_activation_that_was_seen_however_points_are_drawn():
    for train_prompt in ("mask", "same"):
        options = DecoderOptions(mask_prompt=True, train_prompt=train_prompt, n_point=4)
        query, fitted = ask(TARGET, HINTS, options, 3)
        assert np.array_equal(query.cam, mask_prompt(HINTS, HINTS))
        assert np.array_equal(fitted, TARGET)


@pytest.mark.parametrize("epoch", range(6))
def test_target_and_prompt_are_flipped_together(tmp_path, epoch):
    image, target = tmp_path / "image" / "a_1.png", tmp_path / "target" / "a_1.png"
    write_rgb(image, np.zeros((SIDE, SIDE, 3), np.uint8))
    write_mask(target, TARGET)
    views = []

    def embeddings(patch, view):
        views.append(view)
        return np.zeros((1, 1, 1), np.float16)

    options = DecoderOptions(
        embedding_transforms=8, train_prompt="same", prompt="mask_random", n_point=20
    )
    hints = PromptInputs(TARGET * 1.0, TARGET)
    batch = _batch(
        "decoder_0",
        [Example(Patch("a_1", 1, image, None), target)],
        embeddings,
        lambda patch: hints,
        options,
        epoch,
    )
    shown = batch.targets[0].numpy() > 0
    assert shown.sum() == TARGET.sum()
    assert within(batch.prompts[0].points, shown)


@pytest.mark.parametrize("view", range(8))
def test_embedding_target_and_point_of_a_step_show_one_view(tmp_path, monkeypatch, view):
    marked, pixel = block([2], [5]), np.zeros((SIDE, SIDE, 3), np.uint8)
    pixel[marked] = 255
    patch, target = (
        Patch("a_1", 1, tmp_path / "image" / "a_1.png", None),
        tmp_path / "target" / "a_1.png",
    )
    write_rgb(patch.image, pixel)
    write_mask(target, marked)
    # An encoder that shows the patch as it is given.
    encoder = lambda images: [image.transpose(2, 0, 1).astype(np.float16) for image in images]  # noqa: E731
    embeddings = PatchEmbeddings(EmbeddingStore(tmp_path / "kept", encoder), SIDE)
    embeddings.prepare([patch], 8, 1)
    monkeypatch.setattr("epsam.training.decoder.draw_d4", lambda views, rng: view)
    batch = _batch(
        "decoder_0",
        [Example(patch, target)],
        embeddings,
        lambda patch: PromptInputs(marked * 1.0, marked),
        DecoderOptions(embedding_transforms=8, train_prompt="same", n_point=1),
        0,
    )
    # Row 2, column 5 of 16, mirrored left to right, upside down, and turned by quarters
    # counter-clockwise.
    row, column = [(2, 5), (2, 10), (13, 10), (13, 5), (10, 2), (10, 13), (5, 13), (5, 2)][view]
    assert np.argwhere(batch.embeddings[0][0]).tolist() == [[row, column]]
    assert np.argwhere(batch.targets[0].numpy()).tolist() == [[row, column]]
    assert batch.prompts[0].points.tolist() == [[column, row, 1]]


def one_batch(tmp_path, example, hints, **options):
    def embeddings(patch, view):
        return np.zeros((1, 1, 1), np.float16)

    return _batch(
        "decoder_0",
        [example],
        embeddings,
        lambda patch: hints,
        DecoderOptions(embedding_transforms=1, **options),
        0,
    )


@pytest.mark.parametrize("train_prompt", ["mask", "same"])
def test_a_normal_patch_is_asked_about_where_the_classifier_is_wrong_and_has_an_empty_target(
    tmp_path, train_prompt
):
    patch = Patch("a_0", 0, tmp_path / "a_0.png", None)
    batch = one_batch(tmp_path, Example(patch, None), HINTS, train_prompt=train_prompt, n_point=6)
    assert batch.targets.shape == (1, SIDE, SIDE)
    assert not batch.targets.any()
    assert len(batch.prompts[0].points) == 6
    assert within(batch.prompts[0].points, SEEN)


def test_a_soft_target_is_the_probability_of_the_regions_asked_about(tmp_path):
    target, soft = tmp_path / "target.png", tmp_path / "soft.png"
    write_mask(target, LEFT | RIGHT)
    share = np.where(LEFT, 0.8, np.where(RIGHT, 0.6, 0.2))
    write_probability(soft, share)
    example = Example(Patch("a_1", 1, tmp_path / "a_1.png", None), target, soft)
    whole = one_batch(tmp_path, example, ISLANDS, soft_targets=True)
    assert np.allclose(whole.targets[0], share, atol=1 / 510)
    part = one_batch(
        tmp_path, example, ISLANDS, soft_targets=True, train_prompt="same", prompt="box", n_region=1
    )
    assert part.prompts[0].points[:, 0].tolist() == [9, 14]
    assert np.allclose(part.targets[0], np.where(LEFT, 0, share), atol=1 / 510)


class FixedSegmenter:
    def probabilities(self, embeddings, queries):
        return np.stack([TARGET * np.float32(0.9) for _ in embeddings])


def test_the_epoch_can_be_chosen_by_truth_by_the_classifiers_masks_or_not_at_all(tmp_path):
    image, truth, initial = (tmp_path / kind / "a_1.png" for kind in ("image", "mask", "initial"))
    write_rgb(image, np.zeros((SIDE, SIDE, 3), np.uint8))
    write_mask(truth, TARGET)
    write_mask(initial, SEEN)
    asked = [
        PromptedPatch(Patch("a_1", 1, image, truth), ((0, ()),), initial),
        PromptedPatch(Patch("b_1", 1, image, None), ((0, ()),), initial),
    ]
    expected = {"ground_truth": "val_dice", "pseudo": "val_pseudo_dice", "last": ""}
    for select_on, monitor in expected.items():
        options = DecoderOptions(select_on=select_on)
        figures = validation_metrics(FixedSegmenter(), lambda patch, view: patch, asked, options)
        assert decoder_schedule(options).monitor == monitor
        assert figures["val_dice"] == pytest.approx(1)
        assert figures.get("val_pseudo_dice", 0) == pytest.approx(0, abs=1e-4)
        assert set(figures) == {"val_dice", "val_iou"} | (
            {"val_pseudo_dice"} if select_on == "pseudo" else set()
        )
    nothing = validation_metrics(
        FixedSegmenter(), lambda patch, view: patch, asked[1:], DecoderOptions()
    )
    assert np.isnan(nothing["val_dice"])


def test_the_rate_falls_along_half_a_cosine_over_the_steps_of_all_epochs():
    rate = decoder_schedule(DecoderOptions(epoch=20)).lr_factor
    # 400 steps: the factor is 1 at first, a half in the middle, a quarter of the way (1 + cos 45°)
    # / 2.
    assert [rate(step, 20) for step in (0, 100, 200)] == pytest.approx([1, 0.853553, 0.5])
    assert rate(1, 20) < 1
    assert 0 < rate(399, 20) < 1e-3


class Counting:
    """Answers with the number that the prompt's label holds, where the view has put the patch's
    upper left corner.
    """

    def probabilities(self, embeddings, queries):
        found = np.zeros((len(queries), SIDE, SIDE), np.float32)
        for index, (view, (query,)) in enumerate(zip(embeddings, queries, strict=True)):
            corner = np.zeros((SIDE, SIDE), np.float32)
            corner[0, 1] = query.points[0, 2]
            found[index] = apply_d4(corner, view)
        return found


def test_answers_to_several_prompts_and_views_are_brought_upright_and_averaged():
    def one(value):
        return (SamPrompt(np.array([[0, 0, value]], np.float32)),)

    patches = [Patch(name, 1, None, None) for name in "ab"]
    # Means: (1 + 0 + 0.6) / 3 = 0.53 for the first, (0.9 + 0 + 0.5) / 3 = 0.47 for the second.
    asked = [
        PromptedPatch(patches[0], ((0, one(1.0)), (0, one(0.0)), (5, one(0.6)))),
        PromptedPatch(patches[1], ((0, one(0.9)), (0, one(0.0)), (5, one(0.5)))),
    ]
    masks = [mask for _, mask in predict_masks(Counting(), lambda patch, view: view, asked, 4)]
    expected = np.zeros((SIDE, SIDE), bool)
    expected[0, 1] = True
    assert np.array_equal(masks[0], expected)
    assert not masks[1].any()
