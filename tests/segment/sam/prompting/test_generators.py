import numpy as np

from epsam.data.embeddings import digest_of_image
from epsam.segment.sam.prompting.generators import prompt_generators


def draws(images, transform=0, sample=0, key=(3,)):
    digests = [digest_of_image(image) for image in images]
    return [rng.random() for rng in prompt_generators(key, digests, transform, sample)]


def test_the_same_pixels_have_the_same_draws_whatever_they_are_called():
    image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    # A view with other strides, as a crop of an image is.
    crop = np.pad(image, ((1, 2), (3, 1), (0, 0)))[1:5, 3:7]
    assert draws([image]) == draws([crop])
    changed = image.copy()
    changed[0, 0, 0] += 1
    assert draws([image]) != draws([changed])


def test_the_shape_belongs_to_the_pixels():
    row = np.zeros((2, 8, 3), np.uint8)
    assert draws([row]) != draws([row.reshape(8, 2, 3)])


def test_samples_transforms_and_keys_draw_differently():
    image = np.zeros((4, 4, 3), np.uint8)
    variants = [draws([image], *variant) for variant in ((0, 0), (0, 1), (1, 0))]
    variants.append(draws([image], key=(3, 1)))
    assert len({value for (value,) in variants}) == 4
