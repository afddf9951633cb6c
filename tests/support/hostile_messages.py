"""What broken and hostile input is answered with: the table of docs/robustness.md, made by really
giving that input.

python tests/support/hostile_messages.py
"""

import os
import secrets
import struct
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / folder) for folder in ("src", "tests")]

import numpy as np  # noqa: E402
import tifffile  # noqa: E402
import torch  # noqa: E402

from epsam.annotations.asap_reader import read_annotations  # noqa: E402
from epsam.annotations.polygons import rasterize_tumour  # noqa: E402
from epsam.config.common import StageOptions  # noqa: E402
from epsam.config.error_messages import one_line  # noqa: E402
from epsam.core.checkpoints import load_plain, save_plain  # noqa: E402
from epsam.core.errors import EpsamError  # noqa: E402
from epsam.core.files import write_text  # noqa: E402
from epsam.data.images import read_rgb, write_mask  # noqa: E402
from epsam.data.patches import Patch, list_patches, load_median_mpp  # noqa: E402
from epsam.extraction.discovery import discover_slides  # noqa: E402
from epsam.extraction.slide_labels import SlideLabel, SlideLabels  # noqa: E402
from epsam.extraction.splits import read_splits  # noqa: E402
from epsam.paths import RunPaths  # noqa: E402
from epsam.segment.sam.decoder_weights import load_decoder, save_decoder  # noqa: E402
from epsam.segment.sam.models import build_sam  # noqa: E402
from epsam.wsi.reader import open_slide  # noqa: E402

IMAGE = np.full((64, 80, 3), 200, np.uint8)


class Code:
    """Would run a command if it were unpickled as Python does."""

    def __reduce__(self):
        return os.mkdir, ("it_ran",)


def outlines(corners: str, group: str = "Tumor", head: str = "") -> Callable[[], object]:
    points = "".join(
        f'<Coordinate X="{x}" Y="{y}"/>'
        for x, y in (corner.split(",") for corner in corners.split())
    )
    text = (
        f'{head}<ASAP_Annotations><Annotations><Annotation PartOfGroup="{group}">'
        f"<Coordinates>{points}"
        "</Coordinates></Annotation></Annotations></ASAP_Annotations>"
    )
    return xml(text.encode())


def xml(content: bytes) -> Callable[[], object]:
    def read() -> str:
        Path("s.xml").write_bytes(content)
        annotations = read_annotations(Path("s.xml"))
        area = int(rasterize_tumour(annotations, 0, 0, 40, 40).sum())
        return (
            f"{len(annotations.tumour)} outlines, {annotations.n_dropped} without an area "
            f"left out, {area} px inside"
        )

    return read


def slide(
    tags: dict[str, object] | None = None,
    image: np.ndarray = IMAGE,
    keep: float = 1.0,
    **how: object,
) -> Callable[[], object]:
    def read() -> str:
        tifffile.imwrite(
            "s.tif", image, **{"photometric": "rgb", "tile": (16, 16), "metadata": None, **how}
        )
        with tifffile.TiffFile("s.tif", mode="r+b") as file:
            for tag, value in (tags or {}).items():
                file.pages[0].tags[tag].overwrite(value)
        content = Path("s.tif").read_bytes()
        Path("s.tif").write_bytes(content[: int(len(content) * keep)])
        with open_slide(Path("s.tif")) as opened:
            pixels = opened.read(0, 0, 20, 20)
        return f"RGB, first pixel {', '.join(map(str, pixels[0, 0]))}"

    return read


def image(content: bytes) -> Callable[[], object]:
    def read() -> object:
        Path("p_1.png").write_bytes(content)
        return read_rgb(Path("p_1.png"))

    return read


def png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content))
            + kind
            + content
            + struct.pack(">I", zlib.crc32(kind + content))
        )

    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(b"\0"))
        + chunk(b"IEND", b"")
    )


def decoder(harm: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[], object]:
    def read() -> None:
        sam = build_sam("vit_demo")
        save_decoder(Path("decoder.pth"), sam, {})
        content = torch.load("decoder.pth", weights_only=True)
        harm(content["model"])
        torch.save(content, "decoder.pth")
        load_decoder(Path("decoder.pth"), sam)

    return read


def pickled() -> object:
    torch.save({"model": Code()}, "code.pth")
    return load_plain(Path("code.pth"))


def flipped() -> object:
    save_plain(Path("kept.pth"), {"model": {"a": torch.arange(1000.0)}})
    content = bytearray(Path("kept.pth").read_bytes())
    content[content.index(struct.pack("<3f", 500, 501, 502))] ^= 1
    Path("kept.pth").write_bytes(content)
    return load_plain(Path("kept.pth"))


def splits(content: bytes) -> Callable[[], object]:
    def read() -> object:
        Path("splits.csv").write_bytes(content)
        return read_splits(Path("splits.csv"))

    return read


def patch_sizes() -> object:
    Path("patches.csv").write_text("id,label,mpp\na,1,half\n")
    return load_median_mpp([Patch("a_1", 1, Path(), None)], Path("patches.csv"))


def full_disk() -> None:
    Path(".a.token.part.csv").symlink_to("/dev/full")
    with mock.patch.object(secrets, "token_hex", return_value="token"):
        write_text(Path("a.csv"), "x" * 10_000)


def odd_names() -> str:
    names = [f"{name}_1.png" for name in ("with space", "new\nline", "-rf", "..dots", "ünï-日本")]
    for name in names:
        write_mask(Path("test/image") / name, np.ones((2, 2), bool))
    listed = [patch.image.name for patch in list_patches(Path("test/image"), Path("test/mask"))]
    hidden = ", ".join(f"`{name}`" for name in names if name not in listed)
    return f"{len(listed)} of {len(names)}; left out as hidden: {hidden}"


def links() -> str:
    for folder in ("disk", "images"):
        Path(folder).mkdir()
    tifffile.imwrite("disk/far.tif", IMAGE, photometric="rgb")
    for link, target in (
        ("images/more", "disk"),
        ("images/again", "disk"),
        ("disk/circle", "images"),
        ("images/gone.tif", "nowhere.tif"),
    ):
        Path(link).symlink_to(Path(target).absolute())
    labels = SlideLabels({"far": SlideLabel("normal")})
    records, _ = discover_slides(Path("images"), Path("annotations"), labels)
    return "slides " + ", ".join(f"{record.name} ({record.status})" for record in records)


LAUGHS = (
    '<!DOCTYPE l [<!ENTITY a "ha">'
    + "".join(
        f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    )
    + "]>"
)
SQUARE = "1,1 9,1 9,9 1,9"

INPUTS: list[tuple[str, Callable[[], object]]] = [
    ("XML entity bomb (a billion laughs)", outlines(SQUARE, head=LAUGHS)),
    (
        "XML external entity",
        outlines(SQUARE, head='<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>'),
    ),
    ("XML cut short", xml(b"<ASAP_Annotations><Annotations>")),
    (
        "XML in another encoding than it states",
        outlines(SQUARE, "\u00e9", '<?xml version="1.0" encoding="ascii"?>'),
    ),
    ("other XML", xml(b"<html/>")),
    ("coordinate NaN", outlines("1,1 nan,1 9,9")),
    ("coordinate infinite", outlines("1,1 9,-inf 9,9")),
    ("coordinate huge", outlines("1,1 1e300,1 9,9")),
    ("outline of an unknown group", outlines(SQUARE, "lymphocytes")),
    ("outline not closed", outlines(SQUARE)),
    ("outline that crosses itself (even-odd rule)", outlines("0,0 8,8 8,0 0,8")),
    ("outline of two points", outlines("1,1 9,9")),
    (
        "1,000,001 annotations",
        xml(b"<ASAP_Annotations>" + b"<Annotation/>" * 1_000_002 + b"</ASAP_Annotations>"),
    ),
    ("TIFF cut short", slide(keep=0.5)),
    ("TIFF of 0 bytes", slide(keep=0)),
    ("TIFF tile without bytes", slide({"TileByteCounts": [0] * 20})),
    ("TIFF tiles of terabytes", slide({"TileWidth": 2**31 - 16, "TileLength": 2**20})),
    ("TIFF that states 2 billion pixels across", slide({"ImageWidth": 2**31 - 1})),
    ("TIFF of a wrong photometric kind", slide({"PhotometricInterpretation": 5})),
    ("TIFF of float pixels", slide(image=IMAGE.astype(np.float32))),
    ("TIFF of one level", slide()),
    ("TIFF of 16 bit", slide(image=IMAGE.astype(np.uint16) << 8)),
    (
        "TIFF with alpha",
        slide(image=np.dstack([IMAGE, IMAGE[:, :, :1]]), extrasamples=["unassalpha"]),
    ),
    ("TIFF, grey", slide(image=IMAGE[:, :, 0], photometric="minisblack")),
    ("PNG bomb", image(png(60_000, 60_000))),
    ("a text called .png", image(b"hello")),
    ("checkpoint with pickled code", pickled),
    ("checkpoint with one bit flipped", flipped),
    ("checkpoint that lacks a tensor", decoder(lambda state: state.pop(next(iter(state))))),
    (
        "checkpoint with one more",
        decoder(lambda state: state.update({"mask_decoder.more": torch.zeros(1)})),
    ),
    ("checkpoint with NaN", decoder(lambda state: next(iter(state.values())).fill_(float("nan")))),
    ("CSV: a column renamed", splits(b"slide,set\na,train\n")),
    ("CSV: a field too many", splits(b"slide,split\na,train,\n")),
    ("CSV: an unknown word", splits(b"slide,split\na,training\n")),
    ("CSV: in two splits", splits(b"slide,split\na,train\na,val\n")),
    ("CSV: not UTF-8", splits("slide,split\nä,train\n".encode("latin-1"))),
    ("CSV: words for numbers", patch_sizes),
    ("names with a space, a newline, unicode, a leading dash, leading dots", odd_names),
    ("links out of the dataset: to a folder, twice, in a circle, to nothing", links),
    ("RUN=../elsewhere", lambda: RunPaths.of(StageOptions(run="../elsewhere"))),
    ("disk full", full_disk),
]


def answer(give: Callable[[], object]) -> str:
    """What an input in the current folder is answered with."""
    try:
        return f"taken: {give()}"
    except (EpsamError, OSError) as error:
        return f"`{one_line(error, None)}`"


def rows() -> Iterator[str]:
    """The table's lines."""
    yield "| input | answer |"
    yield "|---|---|"
    yield from (f"| {name} | {answer(give)} |" for name, give in INPUTS)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        print("\n".join(rows()))
