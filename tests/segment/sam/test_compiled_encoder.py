import inspect

import pytest
import torch
from torch._dynamo.exc import BackendCompilerFailed

from epsam.segment.sam.compiled_encoder import CompiledEncoder
from epsam.segment.sam.models import build_sam
from support.mini import smaller_sam


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    with smaller_sam(input_px=64):
        yield build_sam("vit_demo").image_encoder.requires_grad_(False)


@pytest.mark.slow
@pytest.mark.long
def test_the_compiled_encoder_gives_the_same_numbers(encoder, caplog):
    compiled, images = CompiledEncoder(encoder), torch.randn(2, 3, 64, 64)
    assert torch.allclose(compiled(images), encoder(images), rtol=0, atol=1e-4)
    # Without a C++ compiler the encoder is left as it is, and says so.
    said = [message for message in caplog.messages if message.startswith("--compile")]
    assert (compiled._compiled is None) == bool(said)
    assert list(encoder.state_dict()) == list(build_sam("vit_demo").image_encoder.state_dict())


def refuse_at_once(network):
    raise RuntimeError("Dynamo is not supported on Python 3.13+\nmore")


def refuse_with_images(network):
    def call(images):
        # Older PyTorch gives it two arguments, newer ones three.
        others = [None] * (len(inspect.signature(BackendCompilerFailed.__init__).parameters) - 3)
        raise BackendCompilerFailed(
            refuse_with_images, RuntimeError("no working C++ compiler"), *others
        )

    return call


@pytest.mark.parametrize(
    ("refuse", "reason"),
    [
        (refuse_at_once, "(Dynamo is not supported on Python 3.13+ more)"),
        (refuse_with_images, "no working C++ compiler"),
    ],
)
def test_where_torch_compile_cannot_be_used_a_warning_says_so_and_the_encoder_runs_as_it_is(
    encoder, monkeypatch, caplog, refuse, reason
):
    monkeypatch.setattr(torch, "compile", refuse)
    compiled, images = CompiledEncoder(encoder), torch.randn(1, 3, 64, 64)
    for _ in range(2):
        assert torch.equal(compiled(images), encoder(images))
    (message,) = caplog.messages
    assert message.startswith("--compile: torch.compile does not work here")
    assert reason in message
    assert "\n" not in message


def test_memory_that_runs_out_is_no_failure_to_compile(encoder, monkeypatch):
    def compile_(network):
        def call(images):
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

        return call

    monkeypatch.setattr(torch, "compile", compile_)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        CompiledEncoder(encoder)(torch.randn(1, 3, 64, 64))
