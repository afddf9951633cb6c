import os
import platform
import subprocess
import sys

import pytest
import torch

from epsam.core.device import select_device
from epsam.core.errors import DeviceError
from support.mini import REPOSITORY


def test_a_cpu_computes_in_fp32_unless_bf16_is_requested():
    assert select_device("cpu", "auto").autocast_dtype is None
    assert select_device("cpu", "fp32").autocast_dtype is None
    with select_device("cpu", "bf16").autocast():
        assert (
            torch.nn.functional.linear(torch.ones(1, 2), torch.ones(1, 2)).dtype == torch.bfloat16
        )


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_one_line():
    with pytest.raises(DeviceError, match="--device cpu"):
        select_device("cuda", "auto")


@pytest.mark.parametrize(
    ("capability", "expected"),
    [((6, 1), None), ((7, 5), torch.float16), ((8, 0), torch.bfloat16), ((12, 0), torch.bfloat16)],
)
@pytest.mark.parametrize("old", [True, False])
def test_a_gpu_that_only_emulates_bf16_computes_in_fp16_if_it_has_units_for_that(
    monkeypatch, old, capability, expected
):
    def supported(including_emulation=True):
        return including_emulation or capability >= (8, 0)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", (lambda: True) if old else supported)
    assert select_device("auto", "auto").autocast_dtype is expected
    assert select_device("auto", "bf16").autocast_dtype is torch.bfloat16


@pytest.mark.parametrize(
    ("precision", "scales"), [("fp32", False), ("bf16", False), ("fp16", True)]
)
def test_gradients_are_scaled_in_fp16_only(precision, scales):
    scaler = select_device("cpu", precision).scaler()
    assert scaler.is_enabled() == scales
    assert (scaler.scale(torch.ones(())) > 1) == scales


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_freed_memory_stays_with_a_stage_on_the_cpu_and_goes_back_otherwise():
    """In a process of its own: what earlier tests have freed would serve the request."""
    code = """if True:
        import resource
        import torch
        from epsam.core.device import keep_freed_memory

        def resident_mib():
            with open("/proc/self/statm") as stream:
                return int(stream.read().split()[1]) * resource.getpagesize() / 2**20

        for keep in (False, True):
            keep_freed_memory(keep)
            before = resident_mib()
            torch.ones(2**26)
            print(resident_mib() - before)
    """
    output = subprocess.run(
        [sys.executable, "-c", code],
        text=True,
        capture_output=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "src")},
    ).stdout
    returned, retained = map(float, output.split())
    assert returned < 64 < 192 < retained
