"""SAM's attention in fewer or quicker operations, exactly: the same weights and keys, the same
result.

The encoder's goes through torch's fused kernels. The package adds a relative-position bias to an N
× N matrix of scores, which no fused kernel takes without writing that matrix out. But the bias of a
query q at a key in row r and column c is q·R_row(r) + q·R_column(c): a scalar product. So the query
is made longer by its biases for all rows and columns, and the key by a one in its row and its
column.
"""

import torch
from segment_anything.modeling import ImageEncoderViT, TwoWayTransformer
from segment_anything.modeling import transformer as package_decoder
from segment_anything.modeling.image_encoder import Attention, get_rel_pos
from torch import Tensor, nn
from torch.nn import functional as F

HEAD_MULTIPLE = 8  # ours: head sizes that the fused kernels of GPUs take without falling back
MANY_TOKENS = 2048  # ours: SAM's global attention has 4096 and takes a third less on a CPU; its windows have 196


class FusedAttention(nn.Module):
    """Takes the place of the package's `Attention`, whose parameters it takes over under their
    names.

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
            attended = _row_by_row(query * self.scale, key, value, biases, rows, columns)
        else:
            attended = _in_one(query * self.scale, key, value, biases, rows, columns)
        merged = attended.reshape(batch, self.num_heads, rows, columns, -1).permute(0, 2, 3, 1, 4)
        result: Tensor = self.proj(merged.reshape(batch, rows, columns, -1))
        return result

    def _biases(self, query: Tensor, rows: int, columns: int) -> Tensor:
        """Each query's bias for every row and every column: (B, heads, rows·columns, rows +
        columns).
        """
        at = query.reshape(*query.shape[:2], rows, columns, -1)
        by_row = get_rel_pos(rows, rows, self.rel_pos_h).to(query.dtype)
        by_column = get_rel_pos(columns, columns, self.rel_pos_w).to(query.dtype)
        row_biases = torch.einsum("bnhwc,hkc->bnhwk", at, by_row)
        column_biases = torch.einsum("bnhwc,wkc->bnhwk", at, by_column)
        return torch.cat([row_biases, column_biases], dim=-1).flatten(2, 3)


def _in_one(
    query: Tensor, key: Tensor, value: Tensor, biases: Tensor, rows: int, columns: int
) -> Tensor:
    """Attention (B, heads, rows·columns, size) with the biases as more of the query's length."""
    size = value.shape[-1]
    longer_query = torch.cat([query, biases], dim=-1)
    longer_key = torch.cat(
        [key, _places(rows, columns, key).expand(*key.shape[:2], -1, -1)], dim=-1
    )
    padding = -longer_key.shape[-1] % HEAD_MULTIPLE
    attended = F.scaled_dot_product_attention(
        F.pad(longer_query, (0, padding)),
        F.pad(longer_key, (0, padding)),
        F.pad(value, (0, longer_key.shape[-1] + padding - size)),
        scale=1.0,
    )
    return attended[..., :size]


def _row_by_row(
    query: Tensor, key: Tensor, value: Tensor, biases: Tensor, rows: int, columns: int
) -> Tensor:
    """The same with the biases as a mask for one row of queries at a time, small enough for a
    processor's cache.

    A CPU spends its time on the products themselves, and the longer vectors triple them.
    """
    found = []
    for start in range(0, rows * columns, columns):
        row = slice(start, start + columns)
        mask = biases[:, :, row, :rows, None] + biases[:, :, row, None, rows:]
        found.append(
            F.scaled_dot_product_attention(
                query[:, :, row], key, value, mask.flatten(-2), scale=1.0
            )
        )
    return torch.cat(found, dim=2)


def _places(rows: int, columns: int, like: Tensor) -> Tensor:
    """A one in each token's row and a one in its column: (rows·columns, rows + columns)."""
    row = torch.eye(rows, dtype=like.dtype, device=like.device).repeat_interleave(columns, dim=0)
    column = torch.eye(columns, dtype=like.dtype, device=like.device).repeat(rows, 1)
    return torch.cat([row, column], dim=1)


def fuse_attention(encoder: ImageEncoderViT) -> ImageEncoderViT:
    """Replace every attention of the encoder by its fused twin; parameters and their names stay.
    Returns `encoder`.
    """
    for block in encoder.blocks:
        block.attn = FusedAttention(block.attn)
    return encoder


class EarlyScaledAttention(package_decoder.Attention):  # type: ignore[misc]
    """Takes the place of the attention in the package's decoder, whose parameters it takes over
    under their names.

    The package divides the N × M scores of every head by a constant, and their gradients once more.
    Here the shorter one of queries and keys is scaled instead: for 60 tokens and 4096 of an image,
    fewer numbers by a factor of 250.
    """

    def __init__(self, stock: package_decoder.Attention) -> None:
        nn.Module.__init__(self)
        self.embedding_dim, self.internal_dim, self.num_heads = (
            stock.embedding_dim,
            stock.internal_dim,
            stock.num_heads,
        )
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (
            stock.q_proj,
            stock.k_proj,
            stock.v_proj,
            stock.out_proj,
        )

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Queries (B, N, C), keys and values (B, M, C) → (B, N, C)."""
        query, key, value = (
            self._separate_heads(part, self.num_heads)
            for part in (self.q_proj(q), self.k_proj(k), self.v_proj(v))
        )
        scale = query.shape[-1] ** -0.5
        if query.shape[-2] < key.shape[-2]:
            query = query * scale
        else:
            key = key * scale
        attended = torch.softmax(query @ key.transpose(-1, -2), dim=-1) @ value
        result: Tensor = self.out_proj(self._recombine_heads(attended))
        return result


def scale_early(transformer: TwoWayTransformer) -> TwoWayTransformer:
    """Replace every attention of the decoder's transformer by its twin above; names stay. Returns
    `transformer`.
    """
    for module in list(transformer.modules()):
        for name, child in list(module.named_children()):
            if type(child) is package_decoder.Attention:
                setattr(module, name, EarlyScaledAttention(child))
    return transformer
