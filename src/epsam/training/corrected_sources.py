"""Which slide or image a file of corrections is of if the dataset holds none, and whether it may be
learnt from.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path

from epsam.core.errors import DatasetError
from epsam.corrections.reading import list_correction_files
from epsam.data.images import IMAGE_SUFFIXES, list_images_below
from epsam.data.patches import Patch, is_no_folder_of_images, join_name, label_from_name
from epsam.paths import DatasetPaths
from epsam.training.held_out import find_held_out, is_copy, list_slide_files
from epsam.wsi.reader import is_slide_file


@dataclass(frozen=True)
class CorrectedSlide:
    """A slide or plain image, and the file of its corrections."""

    name: str
    path: Path
    corrections: Path
    is_image: bool = False


@dataclass(frozen=True)
class OutsideFiles:
    """Slides and plain images outside of the dataset by name. Images may share one."""

    slides: Mapping[str, Path] = field(default_factory=dict)
    images: Mapping[str, Sequence[Path]] = field(default_factory=dict)

    def find_slide(self, name: str) -> Path | None:
        """The slide of a name; None without one, and of a TIFF that is a plain image."""
        path = self.slides.get(name)
        return path if path and is_slide_file(path) else None

    def find_image(self, name: str) -> Path | None:
        """The plain image of a name; None without one. Raises DatasetError if there are several.

        Results of infer.sh may end an image's name in the label that its folder states.
        """
        files = self.images.get(name, ())
        if not files and label_from_name(name) is not None:
            files = self.images.get(name[:-2], ())
        if len(files) > 1:
            raise DatasetError(
                f"{files[0]}: {files[1].name} has the same name, so that nobody can tell which of "
                "them was corrected; rename one, and its corrections"
            )
        return files[0] if files else None


@dataclass(frozen=True)
class SortedFiles:
    """Files of corrections that are of nothing in the dataset, by what they are good for."""

    slides: list[CorrectedSlide]
    held_out: list[Path]
    unmatched: list[Path]


def find_outside_files(folder: str) -> OutsideFiles:
    """What lies in a folder of corrected slides and images, or below it; or this one file.

    Raises DatasetError if there is no such folder.
    """
    if not folder:
        return OutsideFiles()
    path = Path(folder)
    if not path.exists():
        raise DatasetError(f"{path}: no such folder of corrected slides; correct the path")
    if path.is_file():
        is_image = path.suffix.lower() in IMAGE_SUFFIXES
        return OutsideFiles(list_slide_files([path]), {path.stem: [path]} if is_image else {})
    # Named as infer.sh names them.
    image_folder = path / "image" if (path / "image").is_dir() else path
    images: dict[str, list[Path]] = {}
    for file in list_images_below(image_folder, skip=is_no_folder_of_images):
        images.setdefault(join_name(file, image_folder), []).append(file)
    return OutsideFiles(list_slide_files([path]), images)


def sort_files(files: Sequence[Path], outside: OutsideFiles, paths: DatasetPaths) -> SortedFiles:
    """Which of the files of corrections are of slides or images outside of the dataset, or of the
    dataset's slides that gave no patches, and which of these may be learnt from.

    Raises DatasetError if several images have the name of one that was corrected.
    """
    in_dataset = list_slide_files([paths.slides])
    held_out = find_held_out(paths)
    result = SortedFiles([], [], [])
    for path in files:
        name = path.stem
        slide = in_dataset.get(name) or outside.find_slide(name)
        image = None if slide else outside.find_image(name)
        if held_out.holds(name, slide) or (image and held_out.holds_image(name, image)):
            result.held_out.append(path)
        elif slide:
            result.slides.append(CorrectedSlide(name, slide, path))
        elif image:
            result.slides.append(CorrectedSlide(name, image, path, is_image=True))
        else:
            result.unmatched.append(path)
    return result


def require_other_names(
    corrections: Path, outside: OutsideFiles, patches: Sequence[Patch], slides: Set[str]
) -> None:
    """Raise DatasetError if a corrected image outside of the dataset has the name of another patch
    of the dataset, or of one of its slides: corrections would be taken for theirs.
    """
    by_name: dict[str, list[Patch]] = {}
    for patch in patches:
        by_name.setdefault(patch.name, []).append(patch)
    for name in list_correction_files(corrections):
        if name not in by_name and name not in slides:
            continue
        image = outside.find_image(name)
        if image is None or outside.find_slide(name):
            continue
        same_name = by_name.get(name, [])
        if not any(is_copy(image, patch.image) for patch in same_name):
            other = same_name[0].image if same_name else f"slide {name}"
            raise DatasetError(
                f"{image}: has the name of {other}, which is of the dataset; rename the image and "
                "its corrections"
            )
