"""SAM's mask decoder for batches of images with one prompt and one mask each."""

import torch
from segment_anything.modeling import MaskDecoder, Sam
from torch import Tensor

from epsam.segment.sam.prompting.point_sampling import BOX_START, PADDING


class BatchedMaskDecoder(MaskDecoder):  # type: ignore[misc]
    """The package's decoder, but B images with B prompts give B masks.

    Weights and state-dict keys are the same. The package repeats every image once for each prompt,
    so that two images with a prompt each become four (segment-anything issue 277).
    """

    reads_pixels = False
    """Whether it needs the image beside its embedding."""

    def predict_masks(
        self,
        image_embeddings: Tensor,
        image_pe: Tensor,
        sparse_prompt_embeddings: Tensor,
        dense_prompt_embeddings: Tensor,
        pixels: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Logits (B, 4, 4h, 4w) and quality (B, 4) for embeddings (B, C, h, w) and B prompts.

        pixels: the normalised images (B, 3, side, side), for a decoder that reads them. All but the
        sparse prompts may be of one image, (1, …), for B prompts of it.
        """
        n_images, channels, height, width = image_embeddings.shape
        batch = len(sparse_prompt_embeddings)
        output_tokens = torch.cat([self.iou_token.weight, self.mask_tokens.weight])
        tokens = torch.cat([output_tokens.expand(batch, -1, -1), sparse_prompt_embeddings], dim=1)
        source = image_embeddings + dense_prompt_embeddings
        # Not repeated for each prompt: the first layer projects an image once for all of them.
        attended, source = self.transformer(source, image_pe.expand(n_images, -1, -1, -1), tokens)
        source = source.transpose(1, 2).reshape(batch, channels, height, width)
        upscaled = self.upscale(source, pixels)
        mask_tokens = attended[:, 1 : 1 + self.num_mask_tokens]
        weights = []
        for index, mlp in enumerate(self.output_hypernetworks_mlps):
            weights.append(mlp(mask_tokens[:, index]))

        # Pixels times tokens, where the package multiplies tokens by pixels: so the gradients keep
        # the memory order of the convolutions' outputs (channels last). In the other order the
        # activation functions before it take five times as long on a CPU.
        vectors = upscaled.permute(0, 2, 3, 1)
        masks = vectors.flatten(1, 2) @ torch.stack(weights, dim=2)
        masks = masks.transpose(1, 2).unflatten(2, vectors.shape[1:3])  # type: ignore[no-untyped-call]
        return masks, self.iou_prediction_head(attended[:, 0])

    def upscale(self, embedding: Tensor, pixels: Tensor | None) -> Tensor:
        """The embedding after the prompt, (B, C, h, w), as (B, C / 8, 4h, 4w)."""
        upscaled: Tensor = self.output_upscaling(embedding)
        return upscaled


def decode(
    sam: Sam,
    embeddings: Tensor,
    points_xy_sam: Tensor,
    labels: Tensor,
    mask_logits: Tensor | None = None,
    pixels: Tensor | None = None,
) -> Tensor:
    """Mask logits (B, 4h, 4w) of SAM's single-mask token, in the decoder's low resolution.

    embeddings (B, C, h, w) float32; points_xy_sam (B, N, 2) in SAM's frame; labels (B, N): 1
    positive, 0 negative, −1 padding, 2 and 3 a box's corners, which come first; mask_logits (B, 1,
    4h, 4w): dense prompts; pixels: see `BatchedMaskDecoder`. Gradients reach all parameters of
    `sam` that require them.
    Raises ValueError if some prompts have a box and others none.
    """
    points, boxes = _split_points_and_boxes(points_xy_sam, labels)
    sparse, dense = sam.prompt_encoder(points=points, boxes=boxes, masks=mask_logits)
    masks: Tensor = sam.mask_decoder.predict_masks(
        image_embeddings=embeddings,
        image_pe=sam.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        pixels=pixels,
    )[0]
    # The first is the single mask; the three others are for prompts of several meanings.
    return masks[:, 0]


def _split_points_and_boxes(
    points_xy_sam: Tensor, labels: Tensor
) -> tuple[tuple[Tensor, Tensor] | None, Tensor | None]:
    """The arguments of SAM's prompt encoder: points with labels, and boxes (B, 4)."""
    has_box = labels[:, 0] == BOX_START
    if not has_box.any():
        return (points_xy_sam, labels), None
    if not has_box.all():
        raise ValueError("prompts with and without a box in one batch")

    boxes = points_xy_sam[:, :2].flatten(1)
    # SAM's own prompt encoder adds no padding point to a prompt with a box, so columns that are
    # padding in all images are dropped.
    is_point = (labels != PADDING).any(dim=0)
    points = points_xy_sam[:, is_point][:, 2:]
    point_labels = labels[:, is_point][:, 2:]
    return ((points, point_labels) if point_labels.shape[1] else None), boxes
