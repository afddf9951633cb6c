"""What only reads tables starts without PyTorch."""

import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parents[1] / "src"


@pytest.mark.parametrize("script", ["report", "compare", "extract_patches"])
def test_scripts_without_networks_do_not_load_pytorch(script):
    code = f"import sys, {script}; print(sorted({{'torch', 'torchvision'}} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=SRC, capture_output=True, text=True, timeout=300
    )
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
