"""Digests of all that an evaluation reads, from which a finished one is known again without
PyTorch.
"""

import json
from pathlib import Path

from epsam.config.common import SPLITS
from epsam.config.evaluation import EvaluateOptions
from epsam.core.files import digest_of, digest_of_files, read_table, sha256_of
from epsam.data.patches import list_labelled_patches, select_positives
from epsam.paths import DatasetPaths, RunPaths
from epsam.segment.sam.specs import find_checkpoint
from epsam.tables import METRIC_COLUMNS
from epsam.training.round_data import find_mask_classifier, initial_mask_path

DURATIONS = ("seconds", "data_wait_share")
"""Metrics that no score, panel or curve shows; they differ from run to run."""


def digest_inputs(run: RunPaths, options: EvaluateOptions) -> dict[str, str]:
    """Name → digest of all that scores, panels and curves are made of.

    A file that is missing counts as such: the predictor that needs it says what to do about it.
    """
    digests = {}
    for name, paths in _list_files(run, DatasetPaths.of(options)).items():
        digests[name] = digest_of_files(path for path in paths if path.is_file())
    if _list_decoders(run):
        sam = find_checkpoint(
            options.sam_model_type, options.sam_checkpoint, Path(options.checkpoint_root)
        )
        digests["sam"] = sha256_of(sam)
    digests["metrics"] = _digest_of_metrics(run)
    return digests


def _list_files(run: RunPaths, data: DatasetPaths) -> dict[str, list[Path]]:
    files: dict[str, list[Path]] = {}
    for split in SPLITS:
        patches = list_labelled_patches(data.split(split))
        positives = select_positives(patches)
        files[split] = [patch.image for patch in patches]
        files[f"{split}_truth"] = [patch.mask for patch in positives if patch.mask]
        files[f"{split}_masks"] = [initial_mask_path(run, split, patch) for patch in positives]
        files[f"{split}_activations"] = [run.cams(split)]
    # Its column `case` goes into the tables of patches.
    files["patch_table"] = [data.patch_table]
    has_maps = run.mask_rule.is_file()
    files["classifier"] = [find_mask_classifier(run)[0] if has_maps else run.gate_classifier]
    files["decoders"] = _list_decoders(run)
    files["rule"] = [run.mask_rule]
    files["segmenter"] = [run.segmenter]
    return files


def _list_decoders(run: RunPaths) -> list[Path]:
    decoders = sorted(run.root.glob("decoder_iter*.pth"))
    if run.preliminary_decoder.is_file():
        decoders.append(run.preliminary_decoder)
    return decoders


def _digest_of_metrics(run: RunPaths) -> str:
    rows = read_table(run.metrics, METRIC_COLUMNS) if run.metrics.is_file() else []
    return digest_of(
        json.dumps(row, sort_keys=True) for row in rows if row["name"] not in DURATIONS
    )
