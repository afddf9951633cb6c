"""Every flag once: name, default, unit, help and source.

A stage's options are one frozen dataclass put together from groups; `src/command_line.py` turns it into flags. Those of
infer.py are in options.py of inference/, those of scripts beside the pipeline in options.py of ablation/, preflight/,
report/ and synthetic/.
What a dataset changes is a row of `PRESETS`, what a way to train changes one of `METHODS`, never a branch. Precedence:
default < dataset < method < command line.
"""

from dataclasses import dataclass

from epsam.flags import flag, share
from epsam.methods import CAM_METHODS, POSTPROCESSINGS, PROMPTS
from epsam.presets import METHODS

SPLITS = ("train", "val", "test")
PerSplit = tuple[int, int, int]
"""One number each for train, val and test."""


@dataclass(frozen=True)
class NameOptions:
    """Which dataset, by name."""

    dataset_type: str = flag("demo", "dataset: a folder of dataset/ (demo, camelyon16, camelyon17 or one of your own)")
    debug: bool = flag(False, "on an error, print the traceback too", material=False)


@dataclass(frozen=True)
class DataOptions(NameOptions):
    """Where its data lie."""

    dataset_root: str = flag("dataset", "folder that holds the datasets", material=False)
    test_dataset_dir: str = flag("", "test folder with image/ and mask/ (infer.py: or slides, or one slide); empty: "
                                 "dataset/<name>/test", material=False)


@dataclass(frozen=True)
class SplitOptions(DataOptions):
    """The other splits."""

    train_dataset_dir: str = flag("", "train folder with image/ and mask/; empty: dataset/<name>/train", material=False)
    val_dataset_dir: str = flag("", "val folder with image/ and mask/; empty: dataset/<name>/val", material=False)


@dataclass(frozen=True)
class SeedOptions:
    """Where draws are made."""

    seed: int = flag(22, "seed of every random draw", source="code, classifier stage", at_least=0)


@dataclass(frozen=True)
class RestartOptions:
    """Stages that are skipped once they are done."""

    restart: bool = flag(False, "begin this stage again instead of going on from what is there", material=False)


@dataclass(frozen=True)
class ShardOptions:
    """Slides spread over machines."""

    shard: str = flag("", "share i/n of the slides to work on, such as 2/3, to be merged later", material=False)
    merge: bool = flag(False, "put together what all shards left, after checking that no slide lacks", material=False)


@dataclass(frozen=True)
class RunFolderOptions(NameOptions):
    """A run, by name."""

    run: str = flag("", "name of the run: its folder under checkpoints/; empty: the dataset's name", material=False)
    checkpoint_root: str = flag("checkpoints", "folder that holds SAM's weights and the runs", material=False)


@dataclass(frozen=True)
class RunOptions(RunFolderOptions, DataOptions):
    """A run, its data, and where it computes."""

    device: str = flag("auto", "where to compute; auto takes the GPU if there is one", choices=("auto", "cpu", "cuda"),
                       material=False)
    precision: str = flag("auto", "arithmetic of the networks; auto takes bf16 on a GPU that has it, fp16 on an "
                          "older one with tensor cores, else fp32; on a CPU bf16 is faster if the processor has it",
                          choices=("auto", "fp32", "bf16", "fp16"), material=False)


@dataclass(frozen=True)
class BoardOptions:
    """What is told while a stage goes on."""

    tensorboard: bool = flag(False, "TensorBoard's figures and panels, too, in tensorboard/ of the run", material=False)


@dataclass(frozen=True)
class StageOptions(BoardOptions, RestartOptions, RunOptions, SplitOptions):
    """What every stage of a training run takes."""

    allow_degenerate: bool = flag(False, "go on even if the stage before left nothing to learn from, as its log says",
                                  material=False)


@dataclass(frozen=True)
class PatchOptions(ShardOptions, RestartOptions, SeedOptions, SplitOptions):
    """Step 1: slides and outlines → patches."""

    patch_size: int = flag(512, "side of a patch, px", source="paper 4.1", at_least=1)
    stride: int = flag(256, "step of the window grid, px of the patch's resolution", source="paper 4.1", at_least=1)
    mpp: float = flag(0.0, "resolution of the patches, µm/px; 0: the slide's finest level as it is", at_least=0)
    slide_mpp: float = flag(0.0, "resolution of slides whose file does not tell it, µm/px; 0: not known", at_least=0)
    min_tumour: float = share(0.2, "least tumour share of a positive patch", source="paper 4.1")
    max_tumour: float = share(0.9, "largest tumour share of a positive patch", source="paper 4.1")
    min_tissue: float = share(0.25, "least tissue share of a negative patch")
    max_per_bin: PerSplit = flag((500, 50, 0), "positives per 5 %-bin of tumour share (train,val,test); 0: no bins",
                                 source="code, CAMELYON17", at_least=0)
    max_positive: PerSplit = flag((0, 0, 2000), "positives at most; 0: all", source="code, CAMELYON17", at_least=0)
    max_negative: PerSplit = flag((6000, 700, 2000), "negatives at most; 0: all", source="code, Table 1", at_least=0)
    split: str = flag("patient", "which table splits CAMELYON: no patient in two splits, or the authors' own lists",
                      choices=("patient", "authors"))
    split_ratio: tuple[float, float, float] = flag(
        (0.7, 0.1, 0.2), "shares of slides for train,val,test where neither a table nor splits.csv decides", at_least=0)
    workers: int = flag(0, "processes over slides; 0: one a core", material=False, at_least=0)
    strict: bool = flag(False, "fail if any slide fails, instead of listing it in slides.csv and going on",
                        material=False)


@dataclass(frozen=True)
class NetworkOptions:
    """The classifier's network."""

    cam: str = flag("enhanced_adl", "activation map that it is for: the network is plain, has ADL, or the prompt too",
                    source="paper 3.2.1", choices=tuple(CAM_METHODS))
    backbone: str = flag("resnet50", "classifier network", source="paper 3.2.1", choices=("resnet50", "resnet18"))
    pretrained: str = flag("imagenet", "start from: imagenet, none, or the path of a torchvision checkpoint")
    evp_ratio: float = share(0.25, "share of the spectrum that the explicit visual prompt removes", source="EVP, 0.25")
    evp_fuse: str = flag("concat", "a fourth channel, or added to the patch", source="code", choices=("concat", "add"))
    adl_positions: tuple[str, ...] = flag(("3.0", "4.0"), "ADL after these blocks, layer.block", source="paper 3.2.1")
    adl_drop_rate: float = share(0.75, "probability that ADL drops instead of weighting", source="code")
    adl_threshold: float = share(0.8, "ADL drops above this share of the largest attention", source="code")
    input_size: int = flag(0, "side that the classifier sees, px; 0: the patch as it is", at_least=0)


@dataclass(frozen=True)
class ClassifierOptions(NetworkOptions, SeedOptions, StageOptions):
    """Step 2: patches → classifier."""

    train_image_dir: str = flag("", "train images; empty: image/ of the train folder")
    val_image_dir: str = flag("", "validation images; empty: image/ of the validation folder")
    test_image_dir: str = flag("", "test images; empty: image/ of the test folder")
    batch_size: int = flag(16, "patches a step", source="paper 4.2", at_least=1)
    epoch: int = flag(50, "passes over the training patches", source="paper 4.2", at_least=1)
    lr: float = flag(1e-5, "Adam's learning rate", source="paper 4.2", at_least=0)
    weight_decay: float = flag(1e-3, "Adam's weight decay", source="paper 4.2", at_least=0)
    lr_step: int = flag(10, "epochs between reductions of the learning rate; 0: constant", source="code", at_least=0)
    lr_decay: float = flag(0.9, "factor of each reduction", source="code", at_least=0)
    patience: int = flag(25, "epochs without a better validation loss before stopping", source="code", at_least=0)
    workers: int = flag(4, "processes that load patches; 0: none beside this one", material=False, at_least=0)


@dataclass(frozen=True)
class MaskRule:
    """How a patch becomes an activation map, and the map an initial mask; kept with every decoder."""

    cam: str = flag("", "activation map; empty: the classifier's own", source="Table 2", choices=tuple(CAM_METHODS))
    cam_layer: str = flag("", "block whose features make the map, such as 4.0; empty: the last", source="paper 3.2.1")
    rotations: int = flag(4, "right-angle rotations that are fused", source="paper Eq. 3", at_least=1, at_most=4)
    postprocess: str = flag("ours", "map → mask: quantile and opening, DenseCRF, or all from half the maximum on",
                            source="paper 3.2.2", choices=tuple(POSTPROCESSINGS))
    quantile: float = share(0.3, "quantile of the non-zero activation below which a pixel is background",
                           source="code, CAMELYON17")
    open_kernel: int = flag(5, "opening's side, px of its frame; 0: none", source="code, CAMELYON17", at_least=0)
    crf: tuple[int, int, int] = flag((80, 13, 10), "DenseCRF's reach px, grey levels, weight", at_least=1,
                                     source="AffinityNet")
    open_at: str = flag("cam", "where threshold and opening are done: on the map or at the patch's size",
                        source="code, CAMELYON17", choices=("cam", "image"))


@dataclass(frozen=True)
class MaskOptions(MaskRule, StageOptions):
    """Step 3: classifier → activation maps and initial masks."""

    resnet_checkpoint: str = flag("", "classifier; empty: the run's own")
    grid_search: bool = flag(False, "take quantile and kernel from a search over a grid, by Dice on validation truth")
    grid_quantiles: tuple[float, ...] = share((0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9), "quantiles of that grid")
    grid_kernels: tuple[int, ...] = flag((0, 3, 5, 7), "kernels of that grid, px of the frame of --open_at", at_least=0)
    batch_size: int = flag(16, "patches a pass", at_least=1)


@dataclass(frozen=True)
class SamOptions:
    """The Segment Anything model."""

    sam_model_type: str = flag("vit_b", "SAM's encoder; vit_demo is a small stand-in, no real SAM",
                               source="paper 4.2", choices=("vit_b", "vit_l", "vit_h", "vit_demo"))
    sam_checkpoint: str = flag("", "SAM's weights; empty: the known file in checkpoints/, downloaded once if absent")
    compile: bool = flag(False, "torch.compile SAM's encoder: minutes at first, then faster on a GPU; same numbers "
                         "within 1e-4", material=False)


@dataclass(frozen=True)
class PromptOptions:
    """How SAM is asked; kept with every decoder, so that evaluation and inference ask alike."""

    prompt: str = flag("pepm", "points by activation, uniform in mask, patch or truth (an upper bound), a box, or both",
                       source="paper 3.3.1", choices=tuple(PROMPTS))
    n_point: int = flag(50, "positive points a prompt", source="paper 3.3.1", at_least=1)
    n_negative: int = flag(0, "negative points a prompt, where the activation is lowest", source="ours", at_least=0)
    n_region: int = flag(0, "regions of the initial mask, largest first, that are asked about one by one, each with a "
                         "prompt of its own; 0: one prompt for the whole mask", at_least=0)
    mask_prompt: bool = flag(False, "give SAM the activation as mask prompt, too")
    pepm_weight: str = flag("activation", "what PEPM draws by", source="paper Eq. 4", choices=("activation", "entropy"))
    n_draw: int = flag(1, "prompts drawn for a patch, whose masks' probabilities are averaged", at_least=1)
    n_view: int = flag(1, "flips and rotations that are asked and averaged", choices=("1", "2", "4", "8"))


@dataclass(frozen=True)
class UsedPoints:
    """How a trained decoder is asked otherwise than in training."""

    n_point: int = flag(0, "positive points a prompt; 0: as many as the decoder was trained with", at_least=0)
    n_draw: int = flag(0, "prompts a patch, averaged; 0: as in training", at_least=0)
    n_view: int = flag(0, "flips and rotations that are averaged; 0: as in training", choices=("0", "1", "2", "4", "8"))


@dataclass(frozen=True)
class CacheOptions:
    """Embeddings that are kept on disk."""

    embedding_cache: bool = flag(True, "encode each patch once and keep the result on disk", material=False)
    encoder_chunk: int = flag(0, "images encoded at a time; 0: 8 on a GPU, 1 on the CPU", at_least=0)


@dataclass(frozen=True)
class SelectionOptions:
    """Which pseudo-labels are kept."""

    ids_threshold: float = flag(0.9, "a pseudo-label is kept if its IDS is above this", source="paper 3.3.3", at_most=1)
    min_area_ratio: float = flag(0.0, "least area of a pseudo-label as a share of the initial mask", at_least=0)


@dataclass(frozen=True)
class DecoderOptions(CacheOptions, SamOptions, PromptOptions, SelectionOptions, SeedOptions, StageOptions):
    """Step 4: initial masks → preliminary decoder and first pseudo-labels."""

    method: str = flag("paper", "what flags that are not given are set to: the paper's values, or those together that "
                       "did better here (docs/beyond_the_paper.md)", choices=tuple(METHODS), material=False)
    train_prompt: str = flag("mask", "training asks with points of the mask fitted to, exactly as --prompt and "
                             "--n_region do (same), or by another rule", source="code",
                             choices=("mask", "same", *PROMPTS))
    batch_size: int = flag(4, "patches a step", source="paper 4.2", at_least=1)
    epoch: int = flag(20, "passes over the training masks", source="paper 4.2", at_least=1)
    lr: float = flag(2e-4, "AdamW's learning rate", source="paper 4.2", at_least=0)
    weight_decay: float = flag(1e-2, "AdamW's weight decay", source="code", at_least=0)
    patience: int = flag(10, "epochs without a better validation Dice before stopping", source="code", at_least=0)
    soft_targets: bool = flag(False, "rounds are fitted to the probability of the pseudo-labels, each pixel counting "
                              "by its certainty; best with more than one --n_draw or --n_view")
    normal_patches: float = flag(0.0, "share of the training patches that are normal ones, asked about where the "
                                 "classifier is wrong, with an empty mask as target; e.g. 0.2", at_least=0, at_most=0.9)
    embedding_views: int = flag(2, "kept flips and rotations of a training patch", choices=("1", "2", "4", "8"))
    select_on: str = flag("truth", "the epoch that is kept: best Dice on validation with true masks, with the "
                          "classifier's masks, or the last one", source="code", choices=("truth", "pseudo", "last"))


@dataclass(frozen=True)
class RetrainOptions(DecoderOptions):
    """Step 5: iterative retraining (Algorithm 1)."""

    n_iter: int = flag(3, "rounds", source="paper Algorithm 1", material=False, at_least=1)
    pl_mode: str = flag("replace", "pseudo-labels of a round: only its own, or added to those of earlier rounds",
                        source="code", choices=("replace", "accumulate"))


@dataclass(frozen=True)
class EvaluateOptions(BoardOptions, CacheOptions, UsedPoints, SamOptions, SeedOptions, RunOptions, SplitOptions):
    """Scores and pictures of everything that a run kept."""

    batch_size: int = flag(4, "patches a pass", at_least=1)
