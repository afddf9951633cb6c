from functools import partial

import pytest
import torch
from segment_anything.modeling import ImageEncoderViT, transformer
from segment_anything.modeling.image_encoder import Attention
from torch import nn

from epsam.segment.sam import attention as fused_attention
from epsam.segment.sam.attention import (
    EarlyScaledAttention,
    FusedAttention,
    fuse_attention,
    scale_early,
)


@pytest.fixture(params=["at once", "row by row"])
def way(request, monkeypatch):
    """Both ways that the attention is computed on a CPU."""
    monkeypatch.setattr(
        fused_attention, "MANY_TOKENS", 1 if request.param == "row by row" else 10_000
    )


def stock_attention(rows, columns):
    torch.manual_seed(3)
    attention = Attention(24, num_heads=3, use_rel_pos=True, input_size=(rows, columns))
    # The package starts the relative positions at zero, where a wrong bias would not be seen.
    for parameter in (attention.rel_pos_h, attention.rel_pos_w):
        nn.init.normal_(parameter)
    return attention


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(("rows", "columns"), [(4, 4), (5, 7), (1, 3)])
def test_equals_the_package(rows, columns):
    stock = stock_attention(rows, columns)
    tokens = torch.randn(2, rows, columns, 24)
    expected = stock(tokens)
    assert torch.allclose(FusedAttention(stock)(tokens), expected, atol=1e-5)
    with torch.no_grad():
        stock.rel_pos_h.zero_()
    assert rows == 1 or not torch.allclose(
        stock(tokens), expected, atol=1e-2
    )  # the bias does matter here


@pytest.mark.usefixtures("way")
def test_gradients_equal_the_package():
    stock = stock_attention(4, 6)
    tokens = torch.randn(1, 4, 6, 24)
    expected = torch.autograd.grad(stock(tokens).square().sum(), list(stock.parameters()))
    fused = FusedAttention(stock)
    gradients = dict(
        zip(
            [name for name, _ in fused.named_parameters()],
            torch.autograd.grad(fused(tokens).square().sum(), list(fused.parameters())),
            strict=True,
        )
    )
    for (name, _), gradient in zip(stock.named_parameters(), expected, strict=True):
        assert torch.allclose(gradients[name], gradient, atol=1e-3), name


@pytest.mark.usefixtures("way")
def test_a_whole_encoder_keeps_its_keys_and_its_output():
    torch.manual_seed(0)
    encoder = ImageEncoderViT(
        img_size=64,
        patch_size=8,
        embed_dim=32,
        depth=3,
        num_heads=2,
        out_chans=16,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        window_size=3,
        global_attn_indexes=(1,),
    ).eval()
    for block in encoder.blocks:
        nn.init.normal_(block.attn.rel_pos_h)
        nn.init.normal_(block.attn.rel_pos_w)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected, keys = encoder(images), set(encoder.state_dict())
        fused = fuse_attention(encoder)(images)
    assert set(encoder.state_dict()) == keys
    assert (fused - expected).abs().max() < 1e-4


def test_without_relative_positions():
    with pytest.raises(ValueError, match="relative positions"):
        FusedAttention(Attention(8, num_heads=2, use_rel_pos=False))


@pytest.mark.parametrize(("queries", "keys"), [(5, 40), (40, 5), (7, 7)])
def test_scaling_early_gives_what_the_packages_decoder_attention_gives(queries, keys):
    torch.manual_seed(0)
    stock = transformer.Attention(24, num_heads=3, downsample_rate=2)
    q, k, v = torch.randn(2, queries, 24), torch.randn(2, keys, 24), torch.randn(2, keys, 24)
    assert torch.allclose(EarlyScaledAttention(stock)(q, k, v), stock(q, k, v), atol=1e-6)


def test_all_attention_of_the_decoder_is_scaled_early_under_the_names_it_had():
    stock = transformer.TwoWayTransformer(depth=2, embedding_dim=16, num_heads=2, mlp_dim=8)
    names = list(stock.state_dict())
    scaled = scale_early(stock)
    kinds = {
        type(module) for module in scaled.modules() if isinstance(module, transformer.Attention)
    }
    assert (kinds, list(scaled.state_dict())) == ({EarlyScaledAttention}, names)
