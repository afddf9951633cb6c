"""SAM's attention in fewer or faster operations: the same weights, state-dict keys and result.

The encoder's attention goes through torch's fused kernels. The package adds a relative-position
bias to an N × N matrix of scores, which no fused kernel accepts without writing that matrix out.
But the bias of a query q for a key in row r and column c is q·R_row(r) + q·R_column(c): a scalar
product. So the query is extended by its biases for all rows and columns, and the key by a one-hot
vector of its row and one of its column.
"""

import torch
from segment_anything.modeling import ImageEncoderViT, TwoWayTransformer
from segment_anything.modeling import transformer as package_decoder
from segment_anything.modeling.image_encoder import Attention, get_rel_pos
from torch import Tensor, nn
from torch.nn import functional as F

HEAD_MULTIPLE = 8
"""This project: head sizes that the fused kernels of GPUs take without falling back."""
MANY_TOKENS = 2048
"""This project: from here on a CPU computes row by row. SAM's global attention has 4096 tokens and
takes a third less time so; its windowed attention has 196.
"""


class FusedAttention(nn.Module):
    """Replaces the encoder's `Attention`, whose parameters it shares under their names.

    Raises ValueError for an attention without relative positions, which SAM's encoders do not have.
    """

    def __init__(self, stock: Attention) -> None:
        super().__init__()
        if not stock.use_rel_pos:
            raise ValueError(
                "fused attention is written for relative positions; this attention has none"
            )
        self.num_heads, self.scale = stock.num_heads, stock.scale
        self.qkv, self.proj = stock.qkv, stock.proj
        self.rel_pos_h, self.rel_pos_w = stock.rel_pos_h, stock.rel_pos_w

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (B, rows, columns, C) → the same shape."""
        batch, rows, columns, _ = tokens.shape
        parts = self.qkv(tokens).reshape(batch, rows * columns, 3, self.num_heads, -1)
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)
        biases = self._biases(query, rows, columns)
        if tokens.device.type == "cpu" and rows * columns >= MANY_TOKENS:
            attend = _attend_row_by_row
        else:
            attend = _attend_at_once
        attended = attend(query * self.scale, key, value, biases, rows, columns)
        merged = attended.reshape(batch, self.num_heads, rows, columns, -1).permute(0, 2, 3, 1, 4)
        result: Tensor = self.proj(merged.reshape(batch, rows, columns, -1))
        return result

    def _biases(self, query: Tensor, rows: int, columns: int) -> Tensor:
        """Biases of each query for every row and every column of keys: (B, heads, rows·columns,
        rows + columns).
        """
        grid = query.reshape(*query.shape[:2], rows, columns, -1)
        by_row = get_rel_pos(rows, rows, self.rel_pos_h).to(query.dtype)
        by_column = get_rel_pos(columns, columns, self.rel_pos_w).to(query.dtype)
        row_biases = torch.einsum("bnhwc,hkc->bnhwk", grid, by_row)
        column_biases = torch.einsum("bnhwc,wkc->bnhwk", grid, by_column)
        return torch.cat([row_biases, column_biases], dim=-1).flatten(2, 3)


def _attend_at_once(
    query: Tensor, key: Tensor, value: Tensor, biases: Tensor, rows: int, columns: int
) -> Tensor:
    """Attention (B, heads, rows·columns, size) with query and key extended by biases and one-hot
    positions.
    """
    size = value.shape[-1]
    positions = _one_hot_positions(rows, columns, key).expand(*key.shape[:2], -1, -1)
    extended_query = torch.cat([query, biases], dim=-1)
    extended_key = torch.cat([key, positions], dim=-1)
    padding = -extended_key.shape[-1] % HEAD_MULTIPLE
    attended = F.scaled_dot_product_attention(
        F.pad(extended_query, (0, padding)),
        F.pad(extended_key, (0, padding)),
        # The kernels want values of the same size; the zeros are cut off again.
        F.pad(value, (0, extended_key.shape[-1] + padding - size)),
        scale=1.0,
    )
    return attended[..., :size]


def _attend_row_by_row(
    query: Tensor, key: Tensor, value: Tensor, biases: Tensor, rows: int, columns: int
) -> Tensor:
    """Attention with the biases as an additive mask, for one row of queries at a time.

    The result is that of the extended queries and keys above, within rounding.
    """
    # On a CPU the products take the time, and extending the vectors would triple them. The mask of
    # one row of queries fits the cache; that of all rows would not.
    attended = []
    for start in range(0, rows * columns, columns):
        row = slice(start, start + columns)
        mask = biases[:, :, row, :rows, None] + biases[:, :, row, None, rows:]
        attended.append(
            F.scaled_dot_product_attention(
                query[:, :, row], key, value, mask.flatten(-2), scale=1.0
            )
        )
    return torch.cat(attended, dim=2)


def _one_hot_positions(rows: int, columns: int, like: Tensor) -> Tensor:
    """Each token's row and column as one-hot vectors: (rows·columns, rows + columns)."""
    row = torch.eye(rows, dtype=like.dtype, device=like.device).repeat_interleave(columns, dim=0)
    column = torch.eye(columns, dtype=like.dtype, device=like.device).repeat(rows, 1)
    return torch.cat([row, column], dim=1)


def fuse_attention(encoder: ImageEncoderViT) -> ImageEncoderViT:
    """Replace every attention of the encoder by `FusedAttention`; returns `encoder`."""
    for block in encoder.blocks:
        block.attn = FusedAttention(block.attn)
    return encoder


class EarlyScaledAttention(package_decoder.Attention):  # type: ignore[misc]
    """Replaces the decoder's `Attention`, whose parameters it shares under their names.

    The package divides the N × M scores of every head by a constant, and their gradients again.
    Here the shorter one of queries and keys is scaled instead: for 60 prompt tokens and 4096 image
    tokens, 250 times fewer numbers.
    """

    def __init__(self, stock: package_decoder.Attention) -> None:
        nn.Module.__init__(self)
        self.embedding_dim, self.internal_dim = stock.embedding_dim, stock.internal_dim
        self.num_heads = stock.num_heads
        self.q_proj, self.k_proj = stock.q_proj, stock.k_proj
        self.v_proj, self.out_proj = stock.v_proj, stock.out_proj

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Queries (B, N, C), keys and values (B, M, C) → (B, N, C)."""
        query, key, value = self.q_proj(q), self.k_proj(k), self.v_proj(v)
        query = self._separate_heads(query, self.num_heads)
        key = self._separate_heads(key, self.num_heads)
        value = self._separate_heads(value, self.num_heads)

        scale = query.shape[-1] ** -0.5
        if query.shape[-2] < key.shape[-2]:
            query = query * scale
        else:
            key = key * scale
        attended = torch.softmax(query @ key.transpose(-1, -2), dim=-1) @ value
        result: Tensor = self.out_proj(self._recombine_heads(attended))
        return result


def scale_early(transformer: TwoWayTransformer) -> TwoWayTransformer:
    """Replace every attention of the decoder's transformer by `EarlyScaledAttention`; returns
    `transformer`.
    """
    for module in list(transformer.modules()):
        for name, child in list(module.named_children()):
            if type(child) is package_decoder.Attention:
                setattr(module, name, EarlyScaledAttention(child))
    return transformer
