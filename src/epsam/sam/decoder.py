"""SAM's mask decoder for true batches: one image, one prompt, one mask each."""

import torch
from segment_anything.modeling import MaskDecoder, Sam
from torch import Tensor


class BatchedMaskDecoder(MaskDecoder):  # type: ignore[misc]
    """The package's decoder, but B images with B prompts give B masks; weights and state-dict keys are the same.

    The package repeats the image once for each prompt, so that two images with a prompt each become four.
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
        upscaled = self.output_upscaling(source.transpose(1, 2).reshape(batch, channels, height, width))
        mask_tokens = attended[:, 1 : 1 + self.num_mask_tokens]
        weights = [mlp(mask_tokens[:, index]) for index, mlp in enumerate(self.output_hypernetworks_mlps)]
        masks = torch.einsum("bkc,bchw->bkhw", torch.stack(weights, dim=1), upscaled)
        return masks, self.iou_prediction_head(attended[:, 0])


def decode(sam: Sam, embeddings: Tensor, points_xy_sam: Tensor, labels: Tensor) -> Tensor:
    """Mask logits (B, 4h, 4w) of SAM's single-mask token, in the decoder's low resolution.

    embeddings (B, C, h, w) float32; points_xy_sam (B, N, 2) in SAM's frame; labels (B, N): 1 positive, 0 negative,
    −1 padding. Gradients reach whatever of `sam` requires them.
    """
    sparse, dense = sam.prompt_encoder(points=(points_xy_sam, labels), boxes=None, masks=None)
    masks: Tensor = sam.mask_decoder(
        image_embeddings=embeddings,
        image_pe=sam.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=False,
    )[0]
    return masks[:, 0]
