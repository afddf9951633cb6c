import numpy as np
import pytest

from epsam.data.images import write_mask, write_rgb
from epsam.data.patches import Patch
from epsam.data.views import apply_view
from epsam.options import DecoderOptions
from epsam.randomness import generator
from epsam.sam.prompt_rules import Hints
from epsam.sam.prompts import sample_points
from epsam.training.decoder import (
    Example,
    Prompted,
    _batch,
    decoder_schedule,
    predict,
    training_prompts,
    validation_figures,
)

SIDE = 16


def block(rows, columns):
    mask = np.zeros((SIDE, SIDE), bool)
    mask[rows, columns] = True
    return mask


TARGET, SEEN = block(slice(0, 4), slice(0, 8)), block(slice(0, 8), slice(8, 14))
TRUTH = block(slice(9, 15), slice(0, 5))
HINTS = Hints(SEEN * 0.5, SEEN, lambda: TRUTH)


def asked(**options):
    return training_prompts(TARGET[None], lambda: [HINTS], DecoderOptions(n_point=6, **options), [generator(3, "t")])[0]


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
    assert within(asked(train_prompt="same", prompt="truth_random"), TRUTH)


def test_where_nothing_is_seen_the_rule_is_applied_to_the_target():
    blind = Hints(np.zeros((SIDE, SIDE)), np.zeros((SIDE, SIDE), bool))
    for rule, rows in (("pepm", 6), ("box", 2)):
        options = DecoderOptions(n_point=6, train_prompt="same", prompt=rule)
        rngs = [generator(3, "t", number) for number in range(3)]
        prompts = training_prompts(np.stack([TARGET] * 3), lambda: [HINTS, blind, HINTS], options, rngs)
        assert [len(prompt) for prompt in prompts] == [rows] * 3
        assert within(prompts[0], SEEN)
        assert all(TARGET[int(y), int(x)] for x, y, _ in prompts[1])


def test_negatives_lie_outside_the_target():
    prompt = asked(n_negative=5)
    assert len(prompt) == 11
    assert not any(TARGET[int(y), int(x)] for x, y, label in prompt if label == 0)


@pytest.mark.parametrize("epoch", range(6))
def test_target_and_prompt_are_flipped_together(tmp_path, epoch):
    image, target = tmp_path / "image" / "a_1.png", tmp_path / "target" / "a_1.png"
    write_rgb(image, np.zeros((SIDE, SIDE, 3), np.uint8))
    write_mask(target, TARGET)
    views = []

    def embeddings(patch, view):
        views.append(view)
        return np.zeros((1, 1, 1), np.float16)

    options = DecoderOptions(embedding_views=8, train_prompt="same", prompt="mask_random", n_point=20)
    hints = Hints(TARGET * 1.0, TARGET)
    batch = _batch("decoder_0", [Example(Patch("a_1", 1, image, None), target)], embeddings, lambda patch: hints,
                   options, epoch)
    shown = batch.targets[0].numpy() > 0
    assert shown.sum() == TARGET.sum()
    assert within(batch.prompts[0], shown)


class FixedSegmenter:
    def masks(self, embeddings, prompts):
        return [TARGET for _ in embeddings]


def test_the_epoch_can_be_chosen_by_truth_by_the_classifiers_masks_or_not_at_all(tmp_path):
    image, truth, initial = (tmp_path / kind / "a_1.png" for kind in ("image", "mask", "initial"))
    write_rgb(image, np.zeros((SIDE, SIDE, 3), np.uint8))
    write_mask(truth, TARGET)
    write_mask(initial, SEEN)
    prompt = np.zeros((1, 3), np.float32)
    asked = [Prompted(Patch("a_1", 1, image, truth), prompt, initial),
             Prompted(Patch("b_1", 1, image, None), prompt, initial)]
    expected = {"truth": "val_dice", "pseudo": "val_pseudo_dice", "last": ""}
    for select_on, monitor in expected.items():
        options = DecoderOptions(select_on=select_on)
        figures = validation_figures(FixedSegmenter(), lambda patch: patch, asked, options)
        assert decoder_schedule(options).monitor == monitor
        assert figures["val_dice"] == pytest.approx(1)
        assert figures.get("val_pseudo_dice", 0) == pytest.approx(0, abs=1e-4)
        assert set(figures) == {"val_dice", "val_iou"} | ({"val_pseudo_dice"} if select_on == "pseudo" else set())
    nothing = validation_figures(FixedSegmenter(), lambda patch: patch, asked[1:], DecoderOptions())
    assert np.isnan(nothing["val_dice"])


class Counting:
    """Answers with the number that the prompt's label holds, where the view has put the patch's upper left corner."""

    def probabilities(self, embeddings, prompts):
        found = np.zeros((len(prompts), SIDE, SIDE), np.float32)
        for index, (view, prompt) in enumerate(zip(embeddings, prompts, strict=True)):
            corner = np.zeros((SIDE, SIDE), np.float32)
            corner[0, 1] = prompt[0, 2]
            found[index] = apply_view(corner, view)
        return found


def test_answers_to_several_prompts_and_views_are_brought_upright_and_averaged():
    def prompt(value):
        return np.array([[0, 0, value]], np.float32)

    patches = [Patch(name, 1, None, None) for name in "ab"]
    # Means: (1 + 0 + 0.6) / 3 = 0.53 for the first, (0.9 + 0 + 0.5) / 3 = 0.47 for the second.
    asked = [Prompted(patches[0], prompt(1.0), None, ((0, prompt(0.0)), (5, prompt(0.6)))),
             Prompted(patches[1], prompt(0.9), None, ((0, prompt(0.0)), (5, prompt(0.5))))]
    masks = [mask for _, mask in predict(Counting(), lambda patch, view=0: view, asked, 4)]
    expected = np.zeros((SIDE, SIDE), bool)
    expected[0, 1] = True
    assert np.array_equal(masks[0], expected)
    assert not masks[1].any()
