"""What the README and the pages on real tissue and on ideas beyond the paper tell users to type is
there and is understood.
"""

import os
import re
import shlex

import pytest

from epsam.config.command_line import parse
from epsam.pipeline import STAGES
from support.mini import REPOSITORY

README = (REPOSITORY / "README.md").read_text("utf-8")
BEYOND_THE_PAPER = (REPOSITORY / "docs" / "beyond_the_paper.md").read_text("utf-8")
REAL_TISSUE = (REPOSITORY / "docs" / "real_tissue.md").read_text("utf-8")
TEXT = README + BEYOND_THE_PAPER + REAL_TISSUE
CODE_BLOCKS = re.findall(r"```bash\n(.*?)```", TEXT, re.DOTALL)
COMMANDS = [
    line.split("  #")[0].strip() for line in "".join(CODE_BLOCKS).splitlines() if line.strip()
]
STAGE_OF = {
    stage.flags_variable: (stage.name, stage.load_options_class())
    for stage in STAGES.values()
    if stage.flags_variable
}


def test_the_readme_is_short_enough_for_a_newcomer():
    assert len(README.splitlines()) <= 130


def test_the_quick_start_is_three_commands():
    assert COMMANDS[:3] == ["./train.sh", "./infer.sh", "./test.sh"]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_names_a_script_and_variables_and_flags_that_exist(command):
    words = shlex.split(command)
    if words[0] == "python":
        assert (REPOSITORY / words[1]).is_file()
        return
    script = next(word for word in words if "=" not in word)
    assert os.access(REPOSITORY / script, os.X_OK)
    text = (REPOSITORY / script).read_text("utf-8")
    for name, value in (word.split("=", 1) for word in words if "=" in word):
        assert f"{name}=${{{name}:-" in text, f"{script} takes no {name}"
        if name in STAGE_OF:
            parse(*STAGE_OF[name], shlex.split(value))


@pytest.mark.parametrize("script", ["train.sh", "infer.sh"])
def test_flags_suggested_in_the_scripts_comments_exist(script):
    text = (REPOSITORY / script).read_text("utf-8")
    for name, example in re.findall(r"^(\w+_FLAGS)=.*such as: (--.*)$", text, re.MULTILINE):
        if name in STAGE_OF:
            parse(*STAGE_OF[name], shlex.split(example))


@pytest.mark.parametrize("flag", sorted(set(re.findall(r"`(--[a-z_-]+)", TEXT))))
def test_flags_in_the_text_exist(flag):
    options = "".join(
        path.read_text("utf-8") for path in (REPOSITORY / "src/epsam").rglob("config/*.py")
    )
    assert re.search(
        rf"^    {flag.removeprefix('--').removeprefix('no-')}: ", options, re.MULTILINE
    )
