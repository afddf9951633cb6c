import json

import numpy as np
import pytest

from epsam.core.errors import DatasetError
from epsam.core.files import write_json
from epsam.core.output_folders import INFERENCE, mark_output_folder
from epsam.data.images import write_mask, write_rgb
from epsam.view.catalogue import read_catalogue
from epsam.view.image_site import ImageSite
from support.slide_dataset import TUMOUR, write_annotations
from support.viewed_results import write_results


@pytest.fixture
def results(tmp_path):
    return write_results(tmp_path)


def listed(folder, **settings):
    return [image.name for image in read_catalogue(folder, **settings).images]


def test_slides_have_their_files_and_their_row_of_the_table(results):
    first, second = read_catalogue(results).images
    assert (first.name, second.name) == ("a", "b")
    assert (first.correction_name, second.correction_name) == ("a", "b")
    assert first.path == results.parent / "slides" / "a.tif"
    assert first.probability == results / "a" / "probability.tif"
    # Dice stands in the table alone.
    assert (first.row["dice"], second.row["dice"]) == ("0.5", "0.6")
    assert first.frame.mpp == 0.5


def test_slides_that_have_moved_are_where_the_user_says(results, tmp_path):
    (tmp_path / "slides").rename(tmp_path / "moved")
    with pytest.raises(DatasetError, match=r"slides: not there any more; .* by --slides"):
        read_catalogue(results)
    assert listed(results, image_folders=[str(tmp_path / "moved")]) == ["a", "b"]


def test_relative_paths_of_the_record_begin_at_the_folder_of_the_scripts(results, tmp_path):
    write_json(results / "record.json", {INFERENCE: {"options": {"test_dataset_dir": "slides"}}})
    assert len(read_catalogue(results, base=tmp_path).images) == 2
    with pytest.raises(DatasetError, match="not there any more"):
        read_catalogue(results)


def test_what_cannot_be_shown_is_named_with_its_reason(results, tmp_path, caplog):
    (tmp_path / "slides" / "a.tif").unlink()
    catalogue = read_catalogue(results)
    assert [image.name for image in catalogue.images] == ["b"]
    assert "no slide of this name" in catalogue.unseen["a"]
    assert "a: not shown" in caplog.text
    (results / "b" / "slide.json").write_text("{")
    with pytest.raises(DatasetError, match="nothing to show"):
        read_catalogue(results)


def test_links_that_lead_out_of_the_folders_are_refused(results, tmp_path):
    secret = tmp_path / "secret.tif"
    (tmp_path / "slides" / "a.tif").rename(secret)
    (tmp_path / "slides" / "a.tif").symlink_to(secret)
    (results / "b" / "mask.tif").unlink()
    (results / "b" / "mask.tif").symlink_to(secret)

    catalogue = read_catalogue(results)
    assert "leads out of the given folders" in catalogue.unseen["a"]
    (shown,) = catalogue.images
    assert (shown.name, shown.mask) == ("b", None)

    # The user may name the folder that it leads to.
    sources = [str(tmp_path / "slides"), str(secret.parent)]
    assert "a" in listed(results, image_folders=sources)


def test_a_folder_of_slides_may_itself_be_a_link(results, tmp_path):
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset" / "images").symlink_to(tmp_path / "slides")
    assert listed(results, image_folders=[str(tmp_path / "dataset")]) == ["a", "b"]


def test_other_folders_are_refused(tmp_path):
    with pytest.raises(DatasetError, match="no such folder"):
        read_catalogue(tmp_path / "x")
    with pytest.raises(DatasetError, match=r"no finished results of infer\.sh"):
        read_catalogue(tmp_path)


def test_images_have_mask_and_ground_truth(tmp_path):
    mask = np.zeros((30, 40), bool)
    mask[10:20] = True
    for folder in ("image", "mask"):
        (tmp_path / "test" / folder).mkdir(parents=True)
    write_rgb(tmp_path / "test" / "image" / "a_1.png", np.full((30, 40, 3), 120, np.uint8))
    write_mask(tmp_path / "test" / "mask" / "a_1.png", mask)
    output = tmp_path / "out"
    (output / "mask").mkdir(parents=True)
    write_mask(output / "mask" / "a_1.png", mask)
    (output / "metrics.csv").write_text("image,dice\na_1.png,0.75\ngone.png,\n")
    mark_output_folder(output, INFERENCE)
    options = {"test_dataset_dir": str(tmp_path / "test")}
    write_json(output / "record.json", {INFERENCE: {"options": options}})

    catalogue = read_catalogue(output)
    assert list(catalogue.unseen) == ["gone.png"]
    # Corrections of an image are in a file without its suffix, as those of a patch.
    assert catalogue.images[0].correction_name == "a_1"
    site = ImageSite(catalogue)
    assert site.describe_list()["images"][0]["dice"] == 0.75
    description = site.describe_image(0)
    assert list(description["layers"]) == ["image", "mask", "ground_truth"]
    assert description["mpp"] == 0


def test_what_the_page_gets_is_a_script_of_one_call(results):
    script = ImageSite(read_catalogue(results)).answer("images/1.js", {}).content.decode()
    assert script.startswith("epsam.setImage(1, {")
    image = json.loads(script.removeprefix("epsam.setImage(1, ").removesuffix(");\n"))
    assert image["name"] == "b"
    assert image["layers"]["probability"] == {
        "width": 700,
        "height": 500,
        "finest": 10,
        "coarsest": 8,
        "span": 700.0,
        "px0": 1.0,
    }


def answer(site, path, **query):
    return site.answer(path, query)


def test_outlines_and_tiles_of_a_slide(results, tmp_path):
    write_annotations(tmp_path / "annotations" / "a.xml")
    site = ImageSite(read_catalogue(results))
    assert site.describe_image(0)["outlines"] == ["tumour", "annotations"]
    assert site.describe_image(1)["outlines"] == ["tumour"]

    content = answer(site, "outlines/0/tumour.bin", box="0,0,700,500", detail="0").content
    assert np.frombuffer(content[:8], "<i4").tolist() == [1, 5]
    content = answer(site, "outlines/0/annotations.bin", box="0,0,700,500", detail="0").content
    assert np.frombuffer(content[8:], "<f4").reshape(-1, 2).tolist() == [list(xy) for xy in TUMOUR]
    assert answer(site, "outlines/1/annotations.bin", box="0,0,700,500", detail="0") is None
    assert answer(site, "outlines/0/tumour.bin", box="0,0,x", detail="0") is None
    assert answer(site, "outlines/9/tumour.bin", box="0,0,1,1", detail="0") is None

    script = answer(site, "tables/0.js").content.decode()
    assert '"side": 256, "x": [0, 256, 444]' in script
    assert '"gated": [0, 0, 1]' in script
    assert answer(site, "tables/9.js") is None


def test_annotations_that_cannot_be_read_are_no_ground_truth(results, tmp_path, caplog):
    write_annotations(tmp_path / "annotations" / "a.xml", group="x")
    site = ImageSite(read_catalogue(results))
    content = answer(site, "outlines/0/annotations.bin", box="0,0,700,500", detail="0").content
    assert content == bytes(4)
    assert "a: no ground truth" in caplog.text


def test_uncertainty_comes_when_it_is_computed(results):
    site = ImageSite(read_catalogue(results))
    assert answer(site, "uncertainty.js").content == b"epsam.setUncertainty([null, null], false);\n"
    site.scores.compute()
    assert b"null" not in answer(site, "uncertainty.js").content
    assert answer(site, "uncertainty.js").content.endswith(b", true);\n")
