"""test.sh with a Python that only prints what it is called with."""

import os
import shutil
import subprocess

import pytest

from support.mini import REPOSITORY

QUICK = "<-m><not long>"


@pytest.fixture
def run_test_sh(tmp_path):
    """Run test.sh; its output has a line for each call of Python, each word in <>."""
    (tmp_path / "src").mkdir()
    for name in ("test.sh", "src/environment.sh"):
        shutil.copy(REPOSITORY / name, tmp_path / name)
    (tmp_path / "bin").mkdir()
    python = tmp_path / "bin" / "python"
    # mypy is slower than pytest here, so a script that does not wait for it ends without its line.
    python.write_text(
        "#!/bin/bash\n[[ $1 != -c ]] || exit 0\n[[ $2 != mypy ]] || sleep 0.5\n"
        '{ printf \'<%s>\' "$@"; echo; } >> calls.txt\n[[ " $FAILING " != *" $2 "* ]]\n'
    )
    python.chmod(0o755)

    def run(*arguments, failing=""):
        environment = {
            "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
            "VIRTUAL_ENV": str(tmp_path),
            "FAILING": failing,
        }
        result = subprocess.run(
            ["bash", "test.sh", *arguments], cwd=tmp_path, env=environment, check=False
        )
        return result.returncode, (tmp_path / "calls.txt").read_text("utf-8").splitlines()

    return run


def calls_of(lines, module):
    return [line for line in lines if line.startswith(f"<-m><{module}>")]


def test_the_quick_tier_checks_style_format_and_types_and_leaves_out_long_tests(run_test_sh):
    code, lines = run_test_sh()
    assert code == 0
    assert lines[:2] == ["<-m><ruff><check><.>", "<-m><ruff><format><--check><.>"]
    assert calls_of(lines, "mypy") == ["<-m><mypy>"]
    assert len(calls_of(lines, "pytest")) == 1
    assert QUICK in calls_of(lines, "pytest")[0]


def test_all_runs_every_test(run_test_sh):
    _, lines = run_test_sh("--all", "-k", "cam")
    (call,) = calls_of(lines, "pytest")
    assert QUICK not in call
    assert call.endswith("<-k><cam>")


@pytest.mark.parametrize(
    ("arguments", "modules"),
    [(("--lint",), {"ruff", "mypy"}), (("--no-lint", "--all"), {"pytest"})],
)
def test_style_and_tests_run_apart(run_test_sh, arguments, modules):
    code, lines = run_test_sh(*arguments)
    assert code == 0
    assert {line.split("><")[1].rstrip(">") for line in lines} == modules


@pytest.mark.parametrize("failing", ["pytest", "mypy", "pytest mypy"])
def test_a_failure_of_tests_or_types_is_the_result_and_both_are_waited_for(run_test_sh, failing):
    code, lines = run_test_sh(failing=failing)
    assert code != 0
    assert calls_of(lines, "pytest")
    assert calls_of(lines, "mypy")


def test_a_failure_of_style_stops_before_the_tests(run_test_sh):
    code, lines = run_test_sh(failing="ruff")
    assert code != 0
    assert lines == ["<-m><ruff><check><.>"]


def test_pre_commit_takes_the_ruff_of_the_requirements():
    requirements = (REPOSITORY / "requirements-test.txt").read_text("utf-8").splitlines()
    (ruff,) = (line for line in requirements if line.startswith("ruff"))
    config = (REPOSITORY / ".pre-commit-config.yaml").read_text("utf-8")
    assert config.count(f'["{ruff}"]') == config.count("additional_dependencies")
