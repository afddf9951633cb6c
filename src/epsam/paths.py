"""Files and folders of a dataset and of a run."""

from dataclasses import dataclass
from pathlib import Path

from epsam.config.common import (
    SPLITS,
    DataOptions,
    RunFolderOptions,
    ShardedStageOptions,
    SplitOptions,
)
from epsam.core.errors import DatasetError

LAYERS = (1, 2, 3)
"""Numbers of the layers that a classifier with masks of several has, the deepest last."""


@dataclass(frozen=True)
class DatasetPaths:
    """Folders and tables of one dataset; split_dirs: train, val, test."""

    root: Path
    split_dirs: tuple[Path, Path, Path]

    @classmethod
    def of(cls, options: SplitOptions) -> "DatasetPaths":
        root = dataset_root(options)
        train = options.train_dataset_dir or root / "train"
        val = options.val_dataset_dir or root / "val"
        return cls(root, (Path(train), Path(val), test_folder(options)))

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
        """The options that the patches were extracted with."""
        return self.root / "patches.json"

    @property
    def split_table(self) -> Path:
        return self.root / "splits.csv"

    @property
    def embeddings(self) -> Path:
        return self.root / "embeddings"

    @property
    def record(self) -> Path:
        """How the patches were extracted; runs copy it into their own record."""
        return self.root / "record.json"

    def split(self, name: str) -> Path:
        """The folder of one split, which holds image/ and mask/."""
        return self.split_dirs[SPLITS.index(name)]


@dataclass(frozen=True)
class RunPaths:
    """Files of one run."""

    root: Path

    @classmethod
    def of(cls, options: RunFolderOptions) -> "RunPaths":
        return cls(_below(options.checkpoint_root, "run", options.run or options.dataset_type))

    @property
    def classifier(self) -> Path:
        return self.root / "resnet_adl.pth"

    @property
    def gate_classifier(self) -> Path:
        """A copy of the classifier that gates a segmenter of another run's pseudo-labels."""
        return self.root / "gate_classifier.pth"

    @property
    def subclasses(self) -> Path:
        """The sub-class of each training patch with tumour."""
        return self.root / "subclasses.csv"

    @property
    def preliminary_decoder(self) -> Path:
        return self.root / "sam_pre_decoder.pth"

    def round_decoder(self, number: int) -> Path:
        """The decoder of retraining round 1, 2, …; round 0 is the preliminary one."""
        return self.root / f"decoder_iter{number}.pth" if number else self.preliminary_decoder

    @property
    def segmenter(self) -> Path:
        """The segmenter of train_segmenter.py."""
        return self.root / "segmenter.pth"

    def cams(self, split: str) -> Path:
        """The class activation maps of a split."""
        return self.root / "activation" / f"{split}.npz"

    @property
    def cam_shards(self) -> Path:
        """The maps of some patches, by shards, until the stage has put them together."""
        return self.root / "activation" / "shards"

    def base_cams(self, split: str) -> Path:
        """The maps of a split before a refiner that works on those of another one."""
        return self.root / "activation" / "base" / f"{split}.npz"

    @property
    def mask_rule(self) -> Path:
        """The options that CAMs and initial masks were made with (`MaskRule`)."""
        return self.root / "masks" / "initial" / "rule.json"

    @property
    def grid_search(self) -> Path:
        return self.root / "grid_search.csv"

    def initial_masks(self, split: str) -> Path:
        return self.root / "masks" / "initial" / split

    def layer_masks(self, number: int) -> Path:
        """Masks of layer `number` of a classifier that has several (see `LAYERS`)."""
        return self.root / "masks" / "layers" / f"layer_{number}"

    def pseudo_masks(self, number: int) -> Path:
        """Pseudo-labels written by the decoder of round `number` (0: the preliminary one)."""
        return self.root / "masks" / f"iter_{number}"

    def probabilities(self, number: int) -> Path:
        """The probabilities behind the pseudo-labels of a round, for `--soft_targets`."""
        return self.pseudo_masks(number) / "probability"

    @property
    def corrections(self) -> Path:
        """What a person has said of the pixels of training patches, as images."""
        return self.root / "masks" / "corrections"

    @property
    def corrected_slides(self) -> Path:
        """Patches of corrected slides that the dataset does not hold, and their targets."""
        return self.root / "corrected_slides"

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
        """Dice and IoU of every scored patch, for every predictor."""
        return self.root / "evaluation_patches.csv"

    @property
    def classifier_scores(self) -> Path:
        """The classifier's tumour probability of every patch."""
        return self.root / "evaluation_classifier.csv"

    @property
    def fraction_scores(self) -> Path:
        """Scores of all predictors by the tumour fraction of the patches."""
        return self.root / "evaluation_fractions.csv"

    @property
    def report(self) -> Path:
        return self.root / "report.html"

    @property
    def thresholds(self) -> Path:
        """The gate's threshold that the run was scored with, and that of validation."""
        return self.root / "thresholds.json"

    @property
    def model_card(self) -> Path:
        return self.root / "model_card.md"

    @property
    def panels(self) -> Path:
        return self.root / "panels"

    @property
    def tensorboard(self) -> Path:
        """The log folder for TensorBoard."""
        return self.root / "tensorboard"

    @property
    def record(self) -> Path:
        return self.root / "record.json"


def run_folder(options: RunFolderOptions) -> Path:
    """The folder of the run."""
    return RunPaths.of(options).root


def folder_of_whole_run(options: ShardedStageOptions) -> Path | None:
    """The folder of the run; None for a shard, beside which others work in the folder."""
    return None if options.shard else run_folder(options)


def dataset_root(options: DataOptions) -> Path:
    """The folder of the dataset."""
    return _below(options.dataset_root, "dataset_type", options.dataset_type)


def test_folder(options: DataOptions) -> Path:
    """The folder of the test split."""
    return Path(options.test_dataset_dir or dataset_root(options) / "test")


def _below(root: str, flag: str, name: str) -> Path:
    """The folder `name` of `root`. Raises DatasetError if the name leads out of `root`."""
    # A stage that runs again first removes its old files, which must never happen elsewhere.
    parts = Path(name).parts
    if not parts or ".." in parts or Path(name).is_absolute():
        raise DatasetError(f"--{flag} {name!r}: is no folder of {root}/; give a plain name")
    return Path(root) / name
