import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from epsam.core import records as record
from epsam.core.errors import DatasetError
from epsam.core.records import add_to_record, code_version, copy_stage_record, package_versions


def test_a_stage_takes_its_own_place_and_leaves_the_others(tmp_path):
    path = tmp_path / "record.json"
    add_to_record(path, "a", {"lr": 0.1, "sizes": (1, 2)}, 12.34, {"patches": "abc"})
    add_to_record(path, "b", {"lr": 0.2}, 1.0)
    add_to_record(path, "a", {"lr": 0.3}, 2.0)
    entries = json.loads(path.read_text())
    assert {name: entry["options"]["lr"] for name, entry in entries.items()} == {"a": 0.3, "b": 0.2}
    assert (entries["a"]["seconds"], entries["a"]["inputs"]) == (2.0, {})
    assert set(entries["a"]) == {
        "ended",
        "seconds",
        "peak_ram_gib",
        "peak_ram_worker_gib",
        "options",
        "inputs",
        "code",
        "versions",
        "machine",
    } | ({"peak_gpu_gib"} & set(entries["a"]))


def test_a_stages_entry_is_copied_from_another_record(tmp_path):
    add_to_record(tmp_path / "data.json", "cut", {"stride": 64}, 1.0)
    add_to_record(tmp_path / "run.json", "fit", {}, 1.0)
    for source in ("data.json", "nowhere.json"):
        copy_stage_record(tmp_path / source, tmp_path / "run.json", "cut")
    entries = json.loads((tmp_path / "run.json").read_text())
    assert (set(entries), entries["cut"]["options"]) == ({"fit", "cut"}, {"stride": 64})


ALLOCATE = """
import numpy as np
from epsam.core.records import peak_memory
before = peak_memory()["peak_ram_gib"]
array = np.ones(2**29, np.uint8)
print(before, peak_memory()["peak_ram_gib"])
"""


def run_apart(code):
    """The two numbers that the code prints."""
    # The peak of this process is that of all tests before, and its children begin with it; theirs
    # do not.
    output = subprocess.run(
        ["bash", "-c", '"$0" -c "$1"; exit $?', sys.executable, code],
        text=True,
        cwd=Path(record.__file__).parents[2],
        capture_output=True,
        check=True,
    ).stdout
    return map(float, output.split())


def test_peak_memory_is_in_gib_and_grows_with_what_is_allocated():
    before, after = run_apart(ALLOCATE)
    assert 0 < before < 0.5
    assert after == pytest.approx(before + 0.5, abs=0.05)


def test_a_peak_begins_anew_so_that_a_stage_has_its_own():
    code = """
import numpy as np
from epsam.core.records import peak_memory, reset_peak_memory
array = np.ones(2**26)
array = None
before = peak_memory()["peak_ram_gib"]
reset_peak_memory()
print(before, peak_memory()["peak_ram_gib"])
"""
    before, after = run_apart(code)
    # 0.5 GiB were allocated and freed.
    if sys.platform == "linux":
        assert before - after > 0.4


def test_the_digest_of_the_source_is_that_of_all_its_files():
    source = Path(record.__file__).parents[2]
    digest = hashlib.sha256()
    for path in sorted(source.rglob("*.py")):
        digest.update(str(path.relative_to(source)).encode() + b"\0" + path.read_bytes())
    assert code_version()["source_sha256"] == digest.hexdigest()


def test_versions_are_those_that_are_imported():
    assert package_versions()["numpy"] == np.__version__


def test_without_git_the_revision_is_unknown(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert code_version()["git"] == "unknown"


@pytest.mark.parametrize("content", ["", "{", "[]", "\0"])
def test_a_damaged_record_is_named(tmp_path, content):
    (tmp_path / "record.json").write_text(content)
    with pytest.raises(DatasetError, match=r"record\.json: (not readable as JSON|holds a list)"):
        add_to_record(tmp_path / "record.json", "a", {}, 1.0)
