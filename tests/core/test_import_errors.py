"""Scripts without their packages: one line that says which Python lacks what."""

import os
import subprocess
import sys

import pytest

from epsam.core.import_errors import describe_import_error
from support.mini import REPOSITORY

SCRIPTS = sorted(path.name for path in (REPOSITORY / "src").glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_without_packages_ends_in_one_line(script):
    # -S: Python without its site-packages.
    result = subprocess.run(
        [sys.executable, "-S", f"src/{script}", "--help"],
        cwd=REPOSITORY,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True,
        text=True,
        check=False,
    )
    # What needs no package prints its help.
    if result.returncode:
        assert result.stderr.count("\n") == 1
        assert result.stderr.startswith("error: package ")
        assert f" is not installed in {sys.executable}; " in result.stderr
        assert result.returncode == 1
    assert "Traceback" not in result.stderr


def test_the_environment_of_train_sh_is_advised_where_there_is_one(tmp_path, monkeypatch):
    script = tmp_path / "my code" / "src" / "compare.py"
    (tmp_path / "my code" / ".venv" / "bin").mkdir(parents=True)
    script.parent.mkdir()
    monkeypatch.chdir(script.parents[1])
    error = ModuleNotFoundError("No module named 'numpy'", name="numpy")
    assert describe_import_error(error, script).endswith("-m pip install -r requirements.txt")
    (script.parents[1] / ".venv" / "bin" / "python").touch()
    line = describe_import_error(error, script)
    assert line.endswith("use the environment of train.sh: .venv/bin/python src/compare.py")


def test_a_broken_package_is_said_with_the_reason(tmp_path):
    error = ImportError("libGL.so.1: cannot open\n  shared object file", name="cv2")
    line = describe_import_error(error, tmp_path / "src" / "infer.py")
    assert f"package cv2 of {sys.executable} is broken (libGL.so.1: cannot open shared" in line


def test_a_mistake_in_this_code_keeps_its_traceback(tmp_path):
    error = ImportError("cannot import name 'x' from 'epsam.core'", name="epsam.core")
    assert describe_import_error(error, tmp_path / "src" / "infer.py") == ""
