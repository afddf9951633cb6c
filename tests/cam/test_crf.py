import sys
from types import SimpleNamespace

import numpy as np
import pytest

from epsam.cam.crf import CrfSetting, tumour_probability
from epsam.cam.postprocess import cam_to_mask, require_postprocessing
from epsam.config.command_line import parse
from epsam.config.masks import MaskOptions, MaskRule
from epsam.core.errors import EpsamError

CRF = MaskRule(postprocess="crf")
# requirements-test.txt has the package for the Python versions that it can be built for.
with_package = pytest.mark.skipif(
    sys.version_info >= (3, 13), reason="pydensecrf2 1.1 cannot be built for Python 3.13"
)


def two_halves():
    """A patch that is dark on its left half, and a map that is strongest there but leaks a little
    to the right.
    """
    image = np.full((64, 64, 3), 230, np.uint8)
    image[:, :32] = (90, 60, 140)
    cam_map = np.zeros((8, 8), np.float32)
    cam_map[:, :4], cam_map[:, 4] = 1.0, 0.6
    return image, cam_map


def test_without_the_package_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydensecrf", None)
    with pytest.raises(EpsamError, match="pip install pydensecrf2") as raised:
        require_postprocessing(CRF)
    assert "\n" not in str(raised.value)


class FieldWithoutNeighbours:
    """Stands for the package's field: what each pixel gets by its own energies alone."""

    def __init__(self, width, height, labels):
        self._size = labels, height * width

    def setUnaryEnergy(self, energies):  # noqa: N802
        assert energies.shape == self._size
        self._energies = energies

    def addPairwiseGaussian(self, **_):  # noqa: N802
        pass

    def addPairwiseBilateral(self, **_):  # noqa: N802
        pass

    def inference(self, steps):
        return np.exp(-self._energies)


def test_a_pixel_by_itself_is_tumour_where_the_map_is_over_a_half(monkeypatch):
    package = SimpleNamespace(densecrf=SimpleNamespace(DenseCRF2D=FieldWithoutNeighbours))
    monkeypatch.setitem(sys.modules, "pydensecrf", package)
    cam_map = np.array([[0.0, 0.45, 0.55], [1.0, 0.2, 0.9]], np.float32)
    mask = cam_to_mask(cam_map, np.zeros((2, 3, 3), np.uint8), CRF)
    assert mask.tolist() == [[False, False, True], [True, False, True]]


def test_the_authors_take_every_pixel_above_0_for_tumour_with_a_certainty_of_0_7(monkeypatch):
    """Their labels, kernels and steps (docs/deviations.md, "Raw maps and DenseCRF")."""
    calls = []

    class Field(FieldWithoutNeighbours):
        def setUnaryEnergy(self, energies):  # noqa: N802
            calls.append(energies.tolist())
            super().setUnaryEnergy(energies)

        def addPairwiseGaussian(self, **settings):  # noqa: N802
            calls.append(settings)

        def addPairwiseBilateral(self, sxy, srgb, rgbim, compat):  # noqa: N802
            calls.append((sxy, srgb, compat))

        def inference(self, steps):
            calls.append(steps)
            return super().inference(steps)

    package = SimpleNamespace(densecrf=SimpleNamespace(DenseCRF2D=Field))
    monkeypatch.setitem(sys.modules, "pydensecrf", package)
    options = parse("m", MaskOptions, ["--postprocess", "crf", "--crf", "authors"])
    cam_map = np.array([[0.0, 0.01, 1.0]], np.float32)
    mask = cam_to_mask(cam_map, np.zeros((1, 3, 3), np.uint8), options)
    assert mask.tolist() == [[False, True, True]]
    unary, smoothness, appearance, steps = calls
    # −log 0.3 = 1.2040, −log 0.7 = 0.3567.
    assert unary == [
        pytest.approx([0.3567, 1.2040, 1.2040], abs=1e-4),
        pytest.approx([1.2040, 0.3567, 0.3567], abs=1e-4),
    ]
    assert smoothness == {"sxy": 3, "compat": 1}
    assert appearance == (30, 3, 3)
    assert steps == 5


def test_settings_have_names_and_are_three_or_six_numbers(capsys):
    assert parse("m", MaskOptions, ["--crf", "affinitynet"]).crf == (80, 13, 10) == MaskRule().crf
    assert parse("m", MaskOptions, ["--crf", "67,3,4"]).crf == (67, 3, 4)
    with pytest.raises(SystemExit):
        parse("m", MaskOptions, ["--crf", "67,3"])
    expected = "affinitynet or authors, or 3 or 6 numbers with commas between them expected"
    assert expected in capsys.readouterr().err


def test_without_labels_the_map_is_the_probability_within_0_05_to_0_95():
    cam_map = np.array([0.0, 0.3, 1.0], np.float32)
    probability = tumour_probability(cam_map, CrfSetting(80, 13, 10))
    assert probability.tolist() == pytest.approx([0.05, 0.3, 0.95])


@with_package
def test_borders_move_to_those_of_the_image():
    image, cam_map = two_halves()
    mask = cam_to_mask(cam_map, image, CRF)
    assert mask.shape == (64, 64)
    assert mask[:, :32].mean() > 0.99
    assert mask[:, 32:].mean() < 0.01


@with_package
def test_a_map_of_zeros_gives_an_empty_mask():
    image, cam_map = two_halves()
    assert not cam_to_mask(cam_map * 0, image, CRF).any()


@with_package
def test_the_appearance_kernels_weight_is_that_of_the_option():
    image, cam_map = two_halves()
    leak = {}
    for weight in (0, 10):
        mask = cam_to_mask(cam_map, image, MaskRule(postprocess="crf", crf=(80, 13, weight)))
        leak[weight] = mask[:, 33:36].mean()
    assert leak[0] > 0.9
    assert leak[10] < 0.1
