"""Where things lie: the folders of a dataset and of a run."""

from dataclasses import dataclass
from pathlib import Path

from epsam.config.common import SPLITS, DataOptions, RunFolderOptions, SplitOptions
from epsam.core.errors import DatasetError


@dataclass(frozen=True)
class DatasetPaths:
    """Folders and tables of one dataset; `split_dirs` has one entry each for train, val and
    test.
    """

    root: Path
    split_dirs: tuple[Path, Path, Path]

    @classmethod
    def of(cls, options: SplitOptions) -> "DatasetPaths":
        root = dataset_root(options)
        train, val = (
            Path(given) if given else root / name
            for given, name in (
                (options.train_dataset_dir, "train"),
                (options.val_dataset_dir, "val"),
            )
        )
        return cls(root, (train, val, test_folder(options)))

    @property
    def slides(self) -> Path:
        return self.root / "images"

    @property
    def annotations(self) -> Path:
        return self.root / "annotations"

    @property
    def patch_table(self) -> Path:
        return self.root / "patches.csv"

    @property
    def slide_table(self) -> Path:
        return self.root / "slides.csv"

    @property
    def patch_options(self) -> Path:
        """The options with which the patches were made."""
        return self.root / "patches.json"

    @property
    def split_table(self) -> Path:
        return self.root / "splits.csv"

    @property
    def embeddings(self) -> Path:
        return self.root / "embeddings"

    @property
    def record(self) -> Path:
        """How the patches were made; the runs that learn from them take it over into their own
        record.
        """
        return self.root / "record.json"

    def split(self, name: str) -> Path:
        """The folder of one split, which holds image/ and mask/."""
        return self.split_dirs[SPLITS.index(name)]


@dataclass(frozen=True)
class RunPaths:
    """Everything that one run makes."""

    root: Path

    @classmethod
    def of(cls, options: RunFolderOptions) -> "RunPaths":
        return cls(_below(options.checkpoint_root, "run", options.run or options.dataset_type))

    @property
    def classifier(self) -> Path:
        return self.root / "resnet_adl.pth"

    @property
    def preliminary_decoder(self) -> Path:
        return self.root / "sam_pre_decoder.pth"

    def round_decoder(self, number: int) -> Path:
        """The decoder of retraining round 1, 2, …; round 0 is the preliminary one."""
        return self.root / f"decoder_iter{number}.pth" if number else self.preliminary_decoder

    def cams(self, split: str) -> Path:
        return self.root / "activation" / f"{split}.npz"

    @property
    def mask_rule(self) -> Path:
        """How maps and initial masks were made, as plain data."""
        return self.root / "masks" / "initial" / "rule.json"

    @property
    def grid_search(self) -> Path:
        return self.root / "grid_search.csv"

    def initial_masks(self, split: str) -> Path:
        return self.root / "masks" / "initial" / split

    def pseudo_masks(self, number: int) -> Path:
        """Pseudo-labels written by the decoder of round `number` (0: the preliminary one)."""
        return self.root / "masks" / f"iter_{number}"

    def probabilities(self, number: int) -> Path:
        """The probabilities behind the pseudo-labels of that round, where they are kept."""
        return self.pseudo_masks(number) / "probability"

    @property
    def pseudo_labels(self) -> Path:
        return self.root / "pseudo_labels.csv"

    @property
    def metrics(self) -> Path:
        return self.root / "metrics.csv"

    @property
    def options(self) -> Path:
        return self.root / "options.json"

    @property
    def evaluation(self) -> Path:
        return self.root / "evaluation.csv"

    @property
    def patch_scores(self) -> Path:
        """Dice and IoU of every scored patch, by everything that makes masks."""
        return self.root / "evaluation_patches.csv"

    @property
    def report(self) -> Path:
        return self.root / "report.html"

    @property
    def panels(self) -> Path:
        return self.root / "panels"

    @property
    def tensorboard(self) -> Path:
        """What TensorBoard is to be pointed at."""
        return self.root / "tensorboard"

    @property
    def record(self) -> Path:
        return self.root / "record.json"


def run_folder(options: RunFolderOptions) -> Path:
    """The folder of the run."""
    return RunPaths.of(options).root


def dataset_root(options: DataOptions) -> Path:
    """The folder of the dataset."""
    return _below(options.dataset_root, "dataset_type", options.dataset_type)


def test_folder(options: DataOptions) -> Path:
    """The folder of the test split."""
    return (
        Path(options.test_dataset_dir)
        if options.test_dataset_dir
        else dataset_root(options) / "test"
    )


def _below(root: str, flag: str, name: str) -> Path:
    """The folder `name` of `root`.

    Raises DatasetError if it is another one: what is made again is removed first, which nobody
    wants elsewhere.
    """
    parts = Path(name).parts
    if not parts or ".." in parts or Path(name).is_absolute():
        raise DatasetError(f"--{flag} {name!r}: is no folder of {root}/; give a plain name")
    return Path(root) / name
