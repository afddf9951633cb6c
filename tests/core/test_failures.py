import pytest

from epsam.core.errors import DatasetError, FinishedWorkError
from epsam.core.failures import FAILURE_FILE, read_failures, record_failure


def test_a_failed_stage_is_noted_until_it_begins_again(tmp_path):
    with (
        pytest.raises(DatasetError),
        record_failure(tmp_path, "train_classifier", lambda error: f"why: {error}"),
    ):
        raise DatasetError("no patches")
    with pytest.raises(OSError, match="disk"), record_failure(tmp_path, "evaluate", str):
        raise OSError("disk")
    assert read_failures(tmp_path) == {"train_classifier": "why: no patches", "evaluate": "disk"}

    with record_failure(tmp_path, "train_classifier", str):
        assert read_failures(tmp_path) == {"evaluate": "disk"}
    with record_failure(tmp_path, "evaluate", str):
        pass
    assert not (tmp_path / FAILURE_FILE).exists()


def test_an_interruption_is_no_failure_and_a_damaged_file_no_obstacle(tmp_path):
    with pytest.raises(KeyboardInterrupt), record_failure(tmp_path, "evaluate", str):
        raise KeyboardInterrupt
    with pytest.raises(FinishedWorkError), record_failure(tmp_path, "evaluate", str):
        raise FinishedWorkError("this would replace decoder_0", "give it a name of its own")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / FAILURE_FILE).write_text("{")
    with record_failure(tmp_path, "evaluate", str):
        assert read_failures(tmp_path) == {}


def test_where_nothing_can_be_written_the_error_of_the_stage_stays(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(DatasetError, match="no patches"),
        record_failure(tmp_path / "file" / "below", "evaluate", str),
    ):
        raise DatasetError("no patches")
