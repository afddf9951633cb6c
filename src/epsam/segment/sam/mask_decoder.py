"""SAM's mask decoder for true batches: one image, one prompt, one mask each."""

import torch
from segment_anything.modeling import MaskDecoder, Sam
from torch import Tensor

from epsam.segment.sam.prompting.point_sampling import BOX_START, PADDING


class BatchedMaskDecoder(MaskDecoder):  # type: ignore[misc]
    """The package's decoder, but B images with B prompts give B masks; weights and state-dict keys
    are the same.

    The package repeats the image once for each prompt, so that two images with a prompt each become
    four. And its product of mask tokens and pixels takes the gradients out of the order of the
    convolutions' results, in which each pixel's channels are neighbours: on a CPU the activations
    before it then take five times as long.
    """

    def predict_masks(
        self,
        image_embeddings: Tensor,
        image_pe: Tensor,
        sparse_prompt_embeddings: Tensor,
        dense_prompt_embeddings: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Logits (B, 4, 4h, 4w) and quality (B, 4) for embeddings (B, C, h, w) and B prompts."""
        batch, channels, height, width = image_embeddings.shape
        own_tokens = torch.cat([self.iou_token.weight, self.mask_tokens.weight])
        tokens = torch.cat([own_tokens.expand(batch, -1, -1), sparse_prompt_embeddings], dim=1)
        source = image_embeddings + dense_prompt_embeddings
        attended, source = self.transformer(source, image_pe.expand(batch, -1, -1, -1), tokens)
        upscaled = self.output_upscaling(
            source.transpose(1, 2).reshape(batch, channels, height, width)
        )
        mask_tokens = attended[:, 1 : 1 + self.num_mask_tokens]
        weights = [
            mlp(mask_tokens[:, index]) for index, mlp in enumerate(self.output_hypernetworks_mlps)
        ]
        pixels = upscaled.permute(0, 2, 3, 1)
        masks = pixels.flatten(1, 2) @ torch.stack(weights, dim=2)
        return masks.transpose(1, 2).unflatten(2, pixels.shape[1:3]), self.iou_prediction_head(
            attended[:, 0]
        )


def decode(
    sam: Sam,
    embeddings: Tensor,
    points_xy_sam: Tensor,
    labels: Tensor,
    mask_logits: Tensor | None = None,
) -> Tensor:
    """Mask logits (B, 4h, 4w) of SAM's single-mask token, in the decoder's low resolution.

    embeddings (B, C, h, w) float32; points_xy_sam (B, N, 2) in SAM's frame; labels (B, N): 1
    positive, 0 negative, −1 padding, 2 and 3 a box's corners, which come first and in all images of
    a batch or in none; mask_logits (B, 1, 4h, 4w): mask prompts. Gradients reach whatever of `sam`
    requires them.
    """
    points, boxes = _points_and_boxes(points_xy_sam, labels)
    sparse, dense = sam.prompt_encoder(points=points, boxes=boxes, masks=mask_logits)
    masks: Tensor = sam.mask_decoder(
        image_embeddings=embeddings,
        image_pe=sam.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=False,
    )[0]
    return masks[:, 0]


def _points_and_boxes(
    points_xy_sam: Tensor, labels: Tensor
) -> tuple[tuple[Tensor, Tensor] | None, Tensor | None]:
    """What SAM's prompt encoder takes: points with labels, and boxes (B, 4)."""
    boxed = labels[:, 0] == BOX_START
    if not boxed.any():
        return (points_xy_sam, labels), None
    if not boxed.all():
        raise ValueError("prompts with and without a box in one batch")
    boxes = points_xy_sam[:, :2].flatten(1)
    # SAM is never shown padding beside a box, so columns that only fill up are left out.
    used = (labels != PADDING).any(dim=0)
    points, rest = points_xy_sam[:, used][:, 2:], labels[:, used][:, 2:]
    return ((points, rest) if rest.shape[1] else None), boxes
