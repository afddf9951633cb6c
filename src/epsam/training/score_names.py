"""How `evaluation.csv` and `evaluation_patches.csv` name their columns and the masks that they score.

Apart from `evaluation`, as what only reads those files has no need of PyTorch, whose import takes seconds.
"""

COLUMNS = ("split", "what", "patches", "dice", "iou", "pooled_dice", "pooled_iou", "kept", "kept_dice")
"""`kept`: the share of train masks that the decoder's own IDS filter would keep, `kept_dice` their mean Dice."""
PATCH_COLUMNS = ("split", "what", "id", "dice", "iou")
INITIAL, ZERO_SHOT, PRELIMINARY = "initial mask", "zero-shot SAM", "preliminary decoder"
