"""SAM's mask decoder for many prompts of one point each in one image, without gradients.

The masks are those of `decode`, within rounding, for half of its multiplications. What depends on
the image alone is computed once. Where seven tokens meet thousands of pixels, it is the tokens that
go through the projections: (q Wq) · (k Wk) is (q Wq Wkᵀ) · k, and a mean of projected pixels is the
projected mean. Of the last layers only what the single mask needs is computed, and a branch that
reads the image (`detail`) is left out: SAM is untouched here, and such a branch adds nothing yet.
"""

from dataclasses import dataclass

import torch
from segment_anything.modeling import Sam
from segment_anything.modeling.transformer import Attention, TwoWayAttentionBlock
from torch import Tensor, nn
from torch.nn import functional as F

MASK_TOKEN = 1
"""Place of the token of the single mask, after that of the masks' quality."""


@dataclass(frozen=True)
class ImageTensors:
    """What the decoder computes of an image for all prompts; P pixels of the embedding.

    pixels, positions: (1, P, C). keys, values (heads, P, size): the pixels as the tokens of the
    first layer attend to them. queries (heads, P, size): the pixels as they attend to the tokens.
    """

    height: int
    width: int
    pixels: Tensor
    positions: Tensor
    keys: Tensor
    values: Tensor
    queries: Tensor


class PointDecoder:
    """A SAM, and what it computes of one image."""

    def __init__(self, sam: Sam, embedding: Tensor) -> None:
        """embedding: (1, C, h, w) float32."""
        self._sam = sam
        self._decoder = sam.mask_decoder
        self._image = self._project_image(embedding)

    @torch.no_grad()
    def decode(self, points_xy_sam: Tensor) -> Tensor:
        """Mask logits (N, 4h, 4w) of N prompts of one positive point (x, y) each in SAM's frame,
        (N, 2).
        """
        image = self._image
        first, last = self._decoder.transformer.layers
        start = self._make_tokens(points_xy_sam)

        tokens = first.norm1(first.self_attn(q=start, k=start, v=start))
        tokens = tokens + _attend_to_image(first.cross_attn_token_to_image, tokens + start, image)
        tokens = _apply_mlp(first, first.norm2(tokens))
        scores = _score_pixels(first.cross_attn_image_to_token, tokens + start, image)
        pixels = _update_pixels(first, image.pixels, scores, tokens)

        attended = last.self_attn(q=tokens + start, k=tokens + start, v=tokens)
        tokens = last.norm1(tokens + attended)
        placed = pixels + image.positions
        attended = _attend(last.cross_attn_token_to_image, tokens + start, placed, pixels)
        tokens = _apply_mlp(last, last.norm2(tokens + attended))
        scores = _score_placed_pixels(last.cross_attn_image_to_token, tokens + start, placed)
        pixels = _update_pixels(last, pixels, scores, tokens)

        # Nothing attends to the other tokens any more.
        chosen = slice(MASK_TOKEN, MASK_TOKEN + 1)
        token, query = tokens[:, chosen], (tokens + start)[:, chosen]
        transformer = self._decoder.transformer
        attended = _attend(
            transformer.final_attn_token_to_image, query, pixels + image.positions, pixels
        )
        token = transformer.norm_final_attn(token + attended)[:, 0]
        return self._draw_mask(pixels, token)

    @torch.no_grad()
    def _project_image(self, embedding: Tensor) -> ImageTensors:
        no_points = embedding.new_zeros(1, 1, 2), embedding.new_zeros(1, 1)
        _, dense = self._sam.prompt_encoder(points=no_points, boxes=None, masks=None)
        pixels = _flatten_pixels(embedding + dense)
        positions = _flatten_pixels(self._sam.prompt_encoder.get_dense_pe())
        first = self._decoder.transformer.layers[0]
        to_image, to_tokens = first.cross_attn_token_to_image, first.cross_attn_image_to_token
        placed = pixels + positions
        return ImageTensors(
            height=embedding.shape[2],
            width=embedding.shape[3],
            pixels=pixels,
            positions=positions,
            keys=_split_heads(to_image, to_image.k_proj(placed))[0],
            values=_split_heads(to_image, to_image.v_proj(pixels))[0],
            queries=_split_heads(to_tokens, to_tokens.q_proj(placed))[0],
        )

    def _make_tokens(self, points_xy_sam: Tensor) -> Tensor:
        """The tokens that the decoder starts from: (N, tokens, C)."""
        labels = torch.ones(len(points_xy_sam), 1, device=points_xy_sam.device)
        points, _ = self._sam.prompt_encoder(
            points=(points_xy_sam[:, None], labels), boxes=None, masks=None
        )
        outputs = torch.cat([self._decoder.iou_token.weight, self._decoder.mask_tokens.weight])
        return torch.cat([outputs.expand(len(points), -1, -1), points], dim=1)

    def _draw_mask(self, pixels: Tensor, token: Tensor) -> Tensor:
        """Logits (N, 4h, 4w) of pixels (N, P, C) and the token (N, C) of the mask."""
        first, norm, _, second, _ = self._decoder.output_upscaling
        # Each kernel is as large as its stride, so that every pixel becomes four by a matrix, and
        # each of them four again. In this order the numbers of a pixel stay beside each other.
        count, n_pixels = pixels.shape[:2]
        fine = _quarter_pixels(first, pixels).view(count, n_pixels, 4, -1)
        fine = F.gelu(F.layer_norm(fine, norm.weight.shape, norm.weight, norm.bias, norm.eps))
        finest = F.gelu(_quarter_pixels(second, fine).view(count, 16 * n_pixels, -1))
        weights = self._decoder.output_hypernetworks_mlps[0](token)
        logits: Tensor = finest @ weights[:, :, None]

        height, width = self._image.height, self._image.width
        # (row, column) of the pixel, of its quarter, and of the quarter's quarter.
        parts = logits.reshape(-1, height, width, 2, 2, 2, 2)
        return parts.permute(0, 1, 3, 5, 2, 4, 6).reshape(-1, 4 * height, 4 * width)


def _flatten_pixels(feature: Tensor) -> Tensor:
    """(1, C, h, w) → (1, h · w, C)."""
    return feature.flatten(2).transpose(1, 2).contiguous()


def _split_heads(attention: Attention, projected: Tensor) -> Tensor:
    """(B, T, C') → (B, heads, T, size)."""
    batch, count, _ = projected.shape
    return projected.view(batch, count, attention.num_heads, -1).transpose(1, 2)


def _split_weight(attention: Attention, projection: nn.Linear) -> Tensor:
    """The matrix of a projection by head: (heads, size, C)."""
    weight = projection.weight
    return weight.view(attention.num_heads, -1, weight.shape[1])


def _scale(attention: Attention) -> float:
    return float((attention.internal_dim // attention.num_heads) ** -0.5)


def _attend_to_image(attention: Attention, queries: Tensor, image: ImageTensors) -> Tensor:
    """What the tokens (N, T, C) of the first layer see of the image: (N, T, C)."""
    batch, count, _ = queries.shape
    heads = _split_heads(attention, attention.q_proj(queries)) * _scale(attention)
    # One product for all prompts: (heads, N · T, size).
    flat = heads.transpose(0, 1).flatten(1, 2)
    means = torch.softmax(flat @ image.keys.transpose(1, 2), dim=-1) @ image.values
    merged = means.transpose(0, 1).reshape(batch, count, -1)
    result: Tensor = attention.out_proj(merged)
    return result


def _attend(attention: Attention, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Attention of tokens (N, T, C) to each prompt's own pixels (N, P, C)."""
    batch, count, channels = queries.shape
    heads = _split_heads(attention, attention.q_proj(queries)) * _scale(attention)
    # The bias of the keys adds the same to all scores of a query, which the softmax ignores.
    unprojected = (heads @ _split_weight(attention, attention.k_proj)).flatten(1, 2)
    means = torch.softmax(unprojected @ keys.transpose(1, 2), dim=-1) @ values
    by_head = means.view(batch, attention.num_heads, count, channels)
    projected = by_head @ _split_weight(attention, attention.v_proj).transpose(1, 2)
    merged = projected.transpose(1, 2).flatten(2) + attention.v_proj.bias
    result: Tensor = attention.out_proj(merged)
    return result


def _score_pixels(attention: Attention, keys: Tensor, image: ImageTensors) -> Tensor:
    """Scores (N, heads, T, P) of the first layer's pixels for the tokens (N, T, C)."""
    heads = _split_heads(attention, attention.k_proj(keys)) * _scale(attention)
    flat = heads.transpose(0, 1).flatten(1, 2)
    scores = flat @ image.queries.transpose(1, 2)
    return scores.view(attention.num_heads, *keys.shape[:2], -1).transpose(0, 1)


def _score_placed_pixels(attention: Attention, keys: Tensor, placed: Tensor) -> Tensor:
    """Scores (N, heads, T, P) of each prompt's own pixels (N, P, C) for the tokens (N, T, C)."""
    heads = _split_heads(attention, attention.k_proj(keys)) * _scale(attention)
    unprojected = (heads @ _split_weight(attention, attention.q_proj)).flatten(1, 2)
    biases = heads @ attention.q_proj.bias.view(attention.num_heads, -1, 1)
    scores = torch.baddbmm(biases.flatten(1, 2), unprojected, placed.transpose(1, 2))
    return scores.view(*heads.shape[:3], -1)


def _update_pixels(
    layer: TwoWayAttentionBlock, pixels: Tensor, scores: Tensor, tokens: Tensor
) -> Tensor:
    """Pixels (N, P, C) after they attended to the tokens (N, T, C) with scores (N, heads, T, P)."""
    attention = layer.cross_attn_image_to_token
    weights = torch.softmax(scores, dim=2).flatten(1, 2)
    values = _split_heads(attention, attention.v_proj(tokens))
    # Each token's value as the output's projection leaves it: (N, heads · T, C).
    weight = attention.out_proj.weight
    outputs = weight.view(len(weight), attention.num_heads, -1).permute(1, 2, 0)
    projected = (values @ outputs).flatten(1, 2)
    biased = (pixels + attention.out_proj.bias).expand(len(tokens), -1, -1)
    result: Tensor = layer.norm4(torch.baddbmm(biased, weights.transpose(1, 2), projected))
    return result


def _apply_mlp(layer: TwoWayAttentionBlock, tokens: Tensor) -> Tensor:
    result: Tensor = layer.norm3(tokens + layer.mlp(tokens))
    return result


def _quarter_pixels(convolution: nn.ConvTranspose2d, pixels: Tensor) -> Tensor:
    """What a transposed convolution whose kernel and stride are 2 makes of pixels (…, C): four of
    each, row by row, (…, 4 · C').
    """
    weight = convolution.weight.permute(2, 3, 1, 0).flatten(0, 2)
    bias = None if convolution.bias is None else convolution.bias.repeat(4)
    return F.linear(pixels, weight, bias)
