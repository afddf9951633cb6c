import numpy as np
import pytest
import torch

from epsam.config.sam import PromptOptions
from epsam.core.device import DeviceConfig
from epsam.core.seeding import generator
from epsam.segment.sam.frames import SamFrame
from epsam.segment.sam.mask_decoder import decode
from epsam.segment.sam.models import build_sam
from epsam.segment.sam.prompting.point_sampling import prompt_batch
from epsam.segment.sam.prompting.rules import PromptInputs, collate_inputs, make_prompts
from epsam.segment.sam.prompting.sam_prompt import (
    SamPrompt,
    all_points,
    components_touching,
    largest_components,
    make_sam_prompts,
    mask_prompt,
)
from epsam.segment.sam.segmenter import SamSegmenter

SIDE = 64


def block(rows, columns):
    mask = np.zeros((SIDE, SIDE), bool)
    mask[rows, columns] = True
    return mask


SMALL, LARGE, SPECK = (
    block(slice(2, 8), slice(3, 12)),
    block(slice(20, 50), slice(20, 60)),
    block(62, 1),
)
HINTS = PromptInputs(
    np.where(SMALL, 0.5, np.where(LARGE, 1.0, 0.25)), SMALL | LARGE | SPECK, lambda: SMALL | SPECK
)


def rng():
    return generator(1, "test")


def ask_about(hints, options):
    return make_sam_prompts([hints], options, [rng()])[0]


def test_by_default_there_is_one_query_with_the_prompt_of_the_rule():
    (query,) = ask_about(HINTS, PromptOptions(n_point=7))
    assert np.array_equal(
        query.points, make_prompts(collate_inputs([HINTS]), PromptOptions(n_point=7), [rng()])[0]
    )
    assert query.cam is None
    nothing = PromptInputs(HINTS.cam, block([], []))
    assert ask_about(nothing, PromptOptions()) == ()
    assert ask_about(nothing, PromptOptions(n_region=3)) == ()


def test_regions_are_asked_about_one_by_one_the_largest_first():
    queries = ask_about(HINTS, PromptOptions(prompt="box", n_region=2))
    assert [query.points[:, :2].tolist() for query in queries] == [
        [[20, 20], [59, 49]],
        [[3, 2], [11, 7]],
    ]
    assert all_points(queries).shape == (4, 3)
    assert all_points(()).shape == (0, 3)
    assert len(ask_about(HINTS, PromptOptions(prompt="box", n_region=9))) == 3


def test_points_of_a_region_lie_in_it_and_its_truth_is_its_own():
    for part, region in zip(largest_components(HINTS, 3), (LARGE, SMALL, SPECK), strict=True):
        assert np.array_equal(part.mask, region)
        assert np.array_equal(part.ground_truth(), region & ~LARGE)
    large, small = ask_about(HINTS, PromptOptions(n_region=2, n_point=20, n_negative=3))
    for query, region in ((large, LARGE), (small, SMALL)):
        assert all(region[int(y), int(x)] == (label == 1) for x, y, label in query.points)


def test_a_patch_is_asked_the_same_alone_and_among_others():
    nothing, other = (
        PromptInputs(HINTS.cam, block([], [])),
        PromptInputs(HINTS.cam, LARGE),
    )
    options = PromptOptions(n_region=2, n_point=5, n_negative=2)
    found = make_sam_prompts(
        [other, nothing, HINTS], options, [generator(9, "other"), generator(8, "none"), rng()]
    )
    assert [len(queries) for queries in found] == [1, 0, 2]
    alone = ask_about(HINTS, options)
    assert [query.points.tolist() for query in found[2]] == [
        query.points.tolist() for query in alone
    ]


def test_pixels_that_touch_at_a_corner_are_one_region():
    assert len(largest_components(PromptInputs(HINTS.cam, block(1, 1) | block(2, 2)), 5)) == 1


def test_a_mask_prompt_shows_the_activation_without_the_other_regions():
    large = largest_components(HINTS, 1)[0]
    assert np.array_equal(mask_prompt(HINTS, HINTS), HINTS.cam)
    assert np.array_equal(mask_prompt(large, HINTS), np.where(SMALL | SPECK, 0, HINTS.cam))
    queries = ask_about(HINTS, PromptOptions(n_region=1, mask_prompt=True))
    assert np.array_equal(queries[0].cam, mask_prompt(large, HINTS))


def test_what_a_region_touches_is_taken_whole():
    target = block(slice(5, 15), slice(10, 14)) | block(slice(30, 32), slice(0, 4))
    assert np.array_equal(components_touching(target, SMALL), block(slice(5, 15), slice(10, 14)))
    assert not components_touching(target, SPECK).any()
    assert np.array_equal(components_touching(target, SMALL | block(31, slice(0, 9))), target)


def test_activations_become_logits_of_the_whole_patch():
    activations = torch.tensor([[[0.0, 1.0], [0.5, 0.8]]])
    found = SamFrame(512, 1024).mask_prompts(activations, (2, 2))
    # logit(0.99) = ln 99, logit(0.8) = ln 4.
    expected = torch.tensor([[[[-np.log(99), np.log(99)], [0, np.log(4)]]]], dtype=torch.float32)
    assert torch.allclose(found, expected, atol=1e-4)
    assert SamFrame(512, 1024).mask_prompts(activations, (8, 6)).shape == (1, 1, 8, 6)


@pytest.fixture(scope="module")
def segmenter():
    torch.manual_seed(0)
    return SamSegmenter(build_sam("vit_demo"), SIDE, 4, DeviceConfig(torch.device("cpu"), None))


def embeddings(count):
    source = np.random.default_rng(0)
    return [source.normal(size=(256, 32, 32)).astype(np.float16) for _ in range(count)]


def ask(*rows, activation=None):
    return SamPrompt(np.array(rows, np.float32), activation)


@torch.no_grad()
def alone(segmenter, embedding, query):
    return segmenter.logits([embedding], [query]).sigmoid().numpy()[0]


def test_the_answers_to_a_patchs_queries_are_united_and_no_query_is_no_tumour(segmenter):
    first, second = embeddings(2)
    ones = (ask((20, 30, 1), (22, 9, 1)), ask((50, 50, 1)), ask((5, 5, 1), (60, 60, 0)))
    found = segmenter.probabilities([first, second, first], [ones[:2], (), ones])
    answers = [alone(segmenter, first, query) for query in ones]
    assert np.allclose(found[0], np.maximum(answers[0], answers[1]), atol=1e-5)
    assert not found[1].any()
    assert np.allclose(found[2], np.max(answers, axis=0), atol=1e-5)


def test_boxes_with_different_numbers_of_points_do_not_disturb_each_other(segmenter):
    first, second = embeddings(2)
    queries = [ask((3, 4, 2), (30, 31, 3)), ask((3, 4, 2), (30, 31, 3), (9, 9, 1), (50, 50, 0))]
    found = segmenter.probabilities([first, second], [queries[:1], queries[1:]])
    assert np.allclose(found[0], alone(segmenter, first, queries[0]), atol=1e-5)
    assert np.allclose(found[1], alone(segmenter, second, queries[1]), atol=1e-5)


@torch.no_grad()
def test_the_mask_prompt_is_what_the_package_makes_of_its_logits(segmenter):
    embedding, activation = (
        embeddings(1)[0],
        np.random.default_rng(1).random((64, 64)).astype(np.float16),
    )
    query = ask((20, 30, 1), activation=activation)
    logits = segmenter.frame.mask_prompts(torch.from_numpy(activation).float()[None], (128, 128))
    coordinates, labels = prompt_batch([query.points], segmenter.frame, 4)
    sam = segmenter.sam
    sparse, dense = sam.prompt_encoder((coordinates, labels), None, logits)
    stacked = torch.from_numpy(embedding).float()[None]
    masks, _ = sam.mask_decoder.predict_masks(
        stacked, sam.prompt_encoder.get_dense_pe(), sparse, dense
    )
    assert torch.equal(decode(sam, stacked, coordinates, labels, logits), masks[:, 0])
    assert np.allclose(
        alone(segmenter, embedding, query),
        segmenter.frame.masks(masks[:, 0]).sigmoid()[0],
        atol=1e-5,
    )
    assert not np.allclose(
        alone(segmenter, embedding, query), alone(segmenter, embedding, ask((20, 30, 1))), atol=1e-4
    )
