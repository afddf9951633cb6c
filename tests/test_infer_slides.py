"""infer.py on slides with small random networks, as the command line calls it."""

import csv
import html
import json

import numpy as np
import pytest
import tifffile

import infer
from epsam.annotations.asap_writer import TUMOUR, AsapAnnotation, format_asap_xml
from epsam.config.inference import InferOptions
from epsam.core.checkpoints import load_plain, save_plain
from epsam.core.errors import DatasetError, WeightsError
from epsam.core.files import sha256_of, write_text
from epsam.weak.resnet import NetworkSpec, build_classifier
from epsam.weak.weights import save_classifier
from support import trapped
from support.fake_tile_model import draw_slide, write_lossless_slide
from support.mini import clone, run, smaller_sam, write_patches, write_random_sam
from support.random_run import write_random_run
from support.untimed import contents

pytestmark = [pytest.mark.slow, pytest.mark.long]


@pytest.fixture
def options(tmp_path):
    with smaller_sam():
        write_random_sam(tmp_path / "sam.pth")
        write_random_run(tmp_path / "run", tmp_path / "sam.pth")
        yield options_in(tmp_path)


def options_in(tmp_path):
    """A function that makes options for a few slides in that folder, one of them broken."""
    for name in ("tumor_001", "tumor_002", "normal_001"):
        write_lossless_slide(
            tmp_path / "data" / "images" / f"{name}.tif",
            draw_slide(130, 150, [(0, 0, 100, 90)], [(20, 20, 70, 60)]),
        )
    (tmp_path / "data" / "images" / "broken.tif").write_bytes(b"no slide")
    (tmp_path / "data" / "annotations").mkdir()
    corners_xy = np.array([[20, 20], [90, 20], [90, 80], [20, 80]], np.int32)
    write_text(
        tmp_path / "data" / "annotations" / "tumor_001.xml",
        format_asap_xml([AsapAnnotation(TUMOUR, corners_xy)]),
    )

    def make(**changes):
        return InferOptions(
            **{
                "dataset_type": "mini",
                "run": "run",
                "checkpoint_root": str(tmp_path),
                "sam_model_type": "vit_demo",
                "sam_checkpoint": str(tmp_path / "sam.pth"),
                "test_dataset_dir": str(tmp_path / "data"),
                "device": "cpu",
                "output_dir": str(tmp_path / "whole"),
                "classifier_gate": False,
                **changes,
            }
        )

    return make


def test_three_shards_in_parallel_and_a_merge_leave_byte_for_byte_what_one_run_leaves(
    options, tmp_path, caplog
):
    with caplog.at_level("INFO"):
        infer.main(options(asap=True))
    assert "tiles a second: decode" in caplog.text
    shards = [
        options(asap=True, output_dir=str(tmp_path / "shards"), shard=f"{number}/3")
        for number in (1, 2, 3)
    ]
    with trapped.new_processes().Pool(3) as pool:
        pool.map(trapped.infer, shards, chunksize=1)
    assert not (tmp_path / "shards" / "slides.csv").exists()
    infer.main(options(asap=True, output_dir=str(tmp_path / "shards"), merge=True))
    assert contents(tmp_path / "shards") == contents(tmp_path / "whole")

    with (tmp_path / "whole" / "slides.csv").open(newline="") as stream:
        rows = {row["slide"]: row for row in csv.DictReader(stream)}
    assert {name: row["status"] for name, row in rows.items()} == {
        "broken": "failed",
        "normal_001": "done",
        "tumor_001": "done",
        "tumor_002": "done",
    }
    assert int(rows["tumor_001"]["seen"]) > 0
    page = (tmp_path / "whole" / "report.html").read_text("utf-8")
    assert "1 of 4 slides failed." in page
    # Cases are chosen by Dice, which one slide has.
    assert page.count("<img") == 1
    assert "<td>--asap</td><td>True</td>" in page
    folder = tmp_path / "whole" / "tumor_001"
    assert sorted(path.name for path in folder.iterdir()) == [
        "mask.tif",
        "overlay.jpg",
        "probability.tif",
        "regions.csv",
        "slide.json",
        "timings.json",
        "tumour.geojson",
        "tumour.xml",
        "windows.csv",
    ]
    assert tifffile.imread(folder / "mask.tif").shape == (130, 150)
    # A name alone, normal_001, makes no slide normal: only the annotated one is scored.
    assert json.loads((tmp_path / "whole" / "summary.json").read_text())["scored"] == 1


def test_a_merge_before_the_shards_names_the_missing_slides_and_leaves_no_table(options, tmp_path):
    with pytest.raises(
        DatasetError,
        match=r"4 of 4 slides are not there with these options, such as broken, "
        r"normal_001, tumor_001, tumor_002; run every --shard first",
    ):
        infer.main(options(merge=True))
    assert not (tmp_path / "whole").exists()


def test_a_decoder_without_its_resolution_needs_the_flag(options, tmp_path):
    path = tmp_path / "run" / "decoder_iter1.pth"
    content = load_plain(path)
    del content["made_with"]["mpp"]
    save_plain(path, content)
    with pytest.raises(WeightsError, match="give --mpp"):
        infer.main(options())
    slide = str(tmp_path / "data" / "images" / "tumor_001.tif")
    infer.main(options(mpp=1.0, test_dataset_dir=slide))
    assert tifffile.imread(tmp_path / "whole" / "tumor_001" / "mask.tif").shape == (65, 75)


def test_a_classifier_other_than_the_decoders_has_to_be_given_by_flag(options, tmp_path):
    path, classifier = tmp_path / "run" / "decoder_iter1.pth", tmp_path / "run" / "resnet_adl.pth"
    content = load_plain(path)
    save_plain(
        path,
        content
        | {"made_with": content["made_with"] | {"classifier_sha256": sha256_of(classifier)}},
    )
    slide = str(tmp_path / "data" / "images" / "tumor_001.tif")
    infer.main(options(test_dataset_dir=slide))
    save_classifier(classifier, build_classifier(NetworkSpec("resnet18", input_size=64)), {})
    with pytest.raises(
        WeightsError,
        match=r"decoder_iter1.pth: trained with masks of another classifier than .*adl",
    ):
        infer.main(options(test_dataset_dir=slide, output_dir=str(tmp_path / "refused")))
    infer.main(
        options(
            test_dataset_dir=slide,
            output_dir=str(tmp_path / "explicit"),
            resnet_checkpoint=str(classifier),
        )
    )


@pytest.mark.parametrize("name", ["-rf *", 'it\'s "b" %s', "ümläut 日本"])
def test_a_slide_of_an_odd_name_has_its_results_under_that_name(options, tmp_path, name):
    folder = tmp_path / "odd"
    folder.mkdir()
    (tmp_path / "data" / "images" / "tumor_001.tif").rename(folder / f"{name}.tif")
    infer.main(options(test_dataset_dir=str(folder), asap=True))
    with (tmp_path / "whole" / "slides.csv").open(newline="", encoding="utf-8") as stream:
        assert [(row["slide"], row["status"]) for row in csv.DictReader(stream)] == [(name, "done")]
    assert tifffile.imread(tmp_path / "whole" / name / "mask.tif").shape == (130, 150)
    page = (tmp_path / "whole" / "report.html").read_text("utf-8")
    assert name in html.unescape(page)
    before = contents(tmp_path / "whole")
    infer.main(options(test_dataset_dir=str(folder), asap=True))
    assert contents(tmp_path / "whole") == before


def test_images_are_not_sharded(options, tmp_path):
    (tmp_path / "patches" / "image").mkdir(parents=True)
    with pytest.raises(DatasetError, match="are for slides"):
        infer.main(options(test_dataset_dir=str(tmp_path / "patches"), shard="1/2"))


def test_the_shell_script_takes_one_slide(tmp_path):
    def write_slides(folder):
        for name in ("mine 1", "other"):
            write_lossless_slide(
                folder / f"{name}.tif", draw_slide(130, 150, [(0, 0, 100, 90)], [(20, 20, 70, 60)])
            )

    folder = clone(tmp_path, write_slides)
    write_random_run(folder / "checkpoints" / "mine", folder / "random_sam.pth")
    settings = {
        "RUN": "mine",
        "TEST_DATASET_DIR": "dataset/mini/mine 1.tif",
        "DEVICE": "cpu",
        "INFER_FLAGS": "--no-classifier_gate",
    }
    result = run(folder, "./infer.sh", **settings)
    assert result.returncode == 0, result.stdout + result.stderr
    output = folder / "infer_output" / "mine"
    assert sorted(path.name for path in output.iterdir() if not path.name.startswith(".")) == [
        "mine 1",
        "record.json",
        "report.html",
        "slides.csv",
        "timings.csv",
    ]
    assert tifffile.imread(output / "mine 1" / "mask.tif").shape == (130, 150)
    assert "1 slides done, 0 failed" in result.stdout
    assert (folder / "logging_inference.txt").read_text() == result.stdout


@pytest.mark.parametrize("content", ["slides", "images"])
def test_two_processes_of_the_shell_script_leave_the_results_of_one(tmp_path, content):
    def write_slides(folder):
        for number in range(4):
            image = draw_slide(130, 150, [(0, 0, 60 + 10 * number, 90)], [(20, 20, 50, 50)])
            write_lossless_slide(folder / "slides" / f"slide_{number}.tif", image)
        write_patches(folder)

    folder = clone(tmp_path, write_slides)
    write_random_run(folder / "checkpoints" / "mini", folder / "random_sam.pth")
    place = {"slides": "dataset/mini/slides", "images": "dataset/mini/test"}[content]
    for gpus in ("1", "2"):
        settings = {
            "TEST_DATASET_DIR": place,
            "DEVICE": "cpu",
            "GPUS": gpus,
            "OUTPUT_DIR": f"results_{gpus}",
            # An image a batch: tiles that share one are rounded together.
            "INFER_FLAGS": "--no-classifier_gate --batch_size 1",
        }
        result = run(folder, "./infer.sh", **settings)
        assert result.returncode == 0, result.stdout + result.stderr
    assert contents(folder / "results_2") == contents(folder / "results_1")
    assert (folder / "results_2" / "report.html").is_file()


def test_the_record_is_written_whatever_another_run_of_the_folder_does_to_it(
    options, tmp_path, monkeypatch
):
    add_to_record = infer.add_to_record

    def remove_meanwhile(*arguments):
        add_to_record(*arguments)
        (tmp_path / "whole" / "record.json").unlink(missing_ok=True)

    monkeypatch.setattr(infer, "add_to_record", remove_meanwhile)
    infer.main(options())
    assert json.loads((tmp_path / "whole" / "record.json").read_text())["infer"]["ended"]
