"""What fits the decoder: its optimiser, on weights small enough to follow by hand."""

from types import SimpleNamespace

import torch
from torch import nn

from epsam.config.decoder import DecoderOptions
from epsam.core.device import select_device
from epsam.training.decoder import build_decoder_task


def test_weights_without_a_gradient_shrink_by_rate_times_decay_as_adamw_has_it():
    decoder = nn.Linear(3, 2)
    segmenter = SimpleNamespace(
        sam=SimpleNamespace(mask_decoder=decoder), device_config=select_device("cpu", "fp32")
    )
    options = DecoderOptions(lr=0.1, weight_decay=0.2)
    task = build_decoder_task("decoder_0", segmenter, None, [None], [], None, options)

    before = decoder.weight.detach().clone()
    for parameter in decoder.parameters():
        parameter.grad = torch.zeros_like(parameter)
    task.optimiser.step()
    # Adam would take the decay for a gradient, and move every weight by the whole rate.
    torch.testing.assert_close(decoder.weight.detach(), before * (1 - 0.1 * 0.2))
