"""Annotations of a mask and the ASAP file that holds them."""

from xml.etree import ElementTree

import cv2
import numpy as np

from demo.annotations import coarse_annotations
from epsam.annotations.asap_writer import format_asap_xml


def ring():
    rows, columns = np.mgrid[0:200, 0:240]
    away = np.hypot(rows - 100, columns - 120)
    return (away < 80) & (away > 35)


def fill_polygons(annotations, shape):
    canvas = np.zeros(shape, np.uint8)
    for annotation in annotations:
        cv2.fillPoly(canvas, [annotation.points_xy], int(annotation.group == "Tumor"))
    return canvas > 0


def test_a_ring_becomes_tumour_and_an_exclusion_that_fill_to_it_again():
    mask = ring()
    annotations = coarse_annotations(mask)
    assert [annotation.group for annotation in annotations] == ["Tumor", "Exclusion"]
    back = fill_polygons(annotations, mask.shape)
    assert (back & mask).sum() / (back | mask).sum() > 0.95


def test_annotations_are_coarse():
    assert all(len(annotation.points_xy) < 40 for annotation in coarse_annotations(ring()))


def test_an_empty_mask_gives_a_file_without_annotations():
    root = ElementTree.fromstring(format_asap_xml(coarse_annotations(np.zeros((20, 20), bool))))
    assert root.tag == "ASAP_Annotations"
    assert root.findall(".//Annotation") == []


def test_the_file_keeps_groups_order_and_x_before_y():
    mask = np.zeros((60, 90), bool)
    mask[10:31, 40:81] = True
    (annotation,) = ElementTree.fromstring(format_asap_xml(coarse_annotations(mask))).findall(
        ".//Annotation"
    )
    assert (annotation.get("Type"), annotation.get("PartOfGroup")) == ("Polygon", "Tumor")
    corners = annotation.findall(".//Coordinate")
    assert [corner.get("Order") for corner in corners] == ["0", "1", "2", "3"]
    assert {(corner.get("X"), corner.get("Y")) for corner in corners} == {
        ("40", "10"),
        ("40", "30"),
        ("80", "10"),
        ("80", "30"),
    }
