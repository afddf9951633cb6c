"""Embeddings that several machines compute before a decoder is trained (--shard)."""

from epsam.config.decoder import FinetuneOptions
from epsam.core.device import select_device
from epsam.core.errors import TrainingError
from epsam.core.shards import Shard
from epsam.data.patches import list_labelled_patches, read_patch_size, select_positives
from epsam.paths import DatasetPaths
from epsam.training.round_context import count_train_transforms
from epsam.training.sam_setup import prepare_embeddings, prepare_sam


def encode_shard(options: FinetuneOptions, shard: Shard) -> None:
    """Fill the cache with the embeddings of those positive patches of train and val that belong to
    the shard.

    They take neither class activation maps nor masks. Which normal patches --normal_patches takes
    is only known from those, so that the stage itself encodes them. Raises TrainingError if there
    is no cache.
    """
    data = DatasetPaths.of(options)
    train = select_positives(list_labelled_patches(data.split("train")))
    val = select_positives(list_labelled_patches(data.split("val")))
    n_train_transforms = count_train_transforms(options)
    sam = prepare_sam(
        options,
        read_patch_size(train),
        len(train) * n_train_transforms + len(val) * options.n_transform,
        options.n_point + options.n_negative,
        select_device(options.device, options.precision),
    )
    if not sam.embeddings.is_cached:
        raise TrainingError(
            f"--shard {options.shard}: there is no cache to encode into; leave out "
            "--no-embedding_cache, and free some disk space if the log says so"
        )

    shard_train = [patch for patch in train if shard.holds(patch.name)]
    shard_val = [patch for patch in val if shard.holds(patch.name)]
    prepare_embeddings(sam, shard_train, n_train_transforms)
    prepare_embeddings(sam, shard_val, options.n_transform)
