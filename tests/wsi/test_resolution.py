import pytest

from epsam.wsi.resolution import size_from_description, size_from_tags

PHILIPS = (
    '<Attribute Name="DICOM_PIXEL_SPACING" Group="0x0028" Element="0x0030" PMSVR="IDoubleArray">'
    "&quot;{0}&quot; &quot;{0}&quot;</Attribute>"
)


def test_aperio_states_micrometres_in_its_description():
    assert (
        size_from_description(
            "Aperio Image Library v11\r\n46000x3|AppMag = 20|MPP = 0.4990|Left = 25"
        )
        == 0.499
    )


def test_a_magnification_is_no_pixel_size():
    assert size_from_description("Aperio Image Library|AppMag = 40") is None


@pytest.mark.parametrize(("written", "um"), [("0.000227273", 0.227273), ("0.227273", 0.227273)])
def test_philips_spacing_in_millimetres_or_wrongly_in_micrometres(written, um):
    assert size_from_description(PHILIPS.format(written)) == pytest.approx(um)


def test_the_finest_of_several_philips_spacings_is_level_0():
    assert size_from_description(
        PHILIPS.format("0.002") + PHILIPS.format("0.00025")
    ) == pytest.approx(0.25)


def test_philips_spacing_in_plain_quotes():
    assert size_from_description('"DICOM_PIXEL_SPACING">"0.00025" "0.00025"<') == pytest.approx(
        0.25
    )


def test_ome_size_with_and_without_a_unit():
    assert size_from_description('<Pixels PhysicalSizeX="0.5" PhysicalSizeY="0.5">') == 0.5
    assert size_from_description(
        '<Pixels PhysicalSizeX="0.00025" PhysicalSizeXUnit="mm">'
    ) == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("pixels_per_unit", "unit", "um"),
    [
        (40_000, 3, 0.25),  # 40,000 px/cm
        (101_600, 2, 0.25),  # 101,600 px/inch: 25,400 µm / 101,600
        (40_000, 1, None),  # no unit
        (72, 2, None),  # the usual placeholder: 353 µm
        (1, 3, None),
        (0, 3, None),
        (200_000, 3, None),  # 0.05 µm is finer than any scanner
        (40_000, 9, None),
    ],
)
def test_resolution_tags(pixels_per_unit, unit, um):
    assert size_from_tags(pixels_per_unit, unit) == (pytest.approx(um) if um else None)


def test_garbage_in_a_description_is_not_a_size():
    assert size_from_description("MPP = 1e") is None
    assert size_from_description("MPP = nan") is None
    assert size_from_description("") is None
