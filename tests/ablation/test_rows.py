import pytest

from epsam.ablation.rows import read_rows, select_rows
from epsam.core.errors import EpsamError

LIST = """
# a comment
paper
raw    UNTIL=masks MASK_FLAGS="--rotations 1 --postprocess none"   # why
box    DECODER_FLAGS="--prompt box" RETRAIN_FLAGS="--n_iter 1"
more   DECODER_FLAGS='--n_negative 5'
"""


def test_a_line_is_a_name_and_flags_of_stages():
    rows = {row.name: row for row in read_rows(LIST)}
    assert list(rows) == ["paper", "raw", "box", "more"]
    assert rows["paper"].until == "rounds"
    assert not any(rows["paper"].flags.values())
    assert rows["raw"].flags["MASK_FLAGS"] == ["--rotations", "1", "--postprocess", "none"]
    assert rows["raw"].until == "masks"
    assert rows["box"].flags["RETRAIN_FLAGS"] == ["--n_iter", "1"]


def test_a_row_may_be_scored_in_a_way_of_its_own():
    (row,) = read_rows('gated EVALUATE_FLAGS="--gate_from validation"')
    assert row.flags["EVALUATE_FLAGS"] == ["--gate_from", "validation"]
    assert row.flag_text == "--gate_from validation"


def test_retraining_has_the_flags_of_the_preliminary_stage_unless_given_and_they_are_printed_once():
    row = read_rows(LIST)[-1]
    assert row.flags["RETRAIN_FLAGS"] == row.flags["DECODER_FLAGS"] == ["--n_negative", "5"]
    assert row.flag_text == "--n_negative 5"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('a MASK_FLAGS="--x', "close the quotation marks"),
        ("a MASKS_FLAGS=--x", "expected"),
        ("a UNTIL=noon", "expected"),
        ("../a", "expected"),
        ("a METHOD=unett", "no such METHOD; use ep_sam, strong, unet"),
        ("a METHOD=unet_pseudo FROM=paper", "row a: FROM=paper is no row of the list"),
        ("a\na", "two of that name"),
    ],
)
def test_a_line_that_cannot_be_parsed_is_named(line, message):
    with pytest.raises(EpsamError, match=message) as raised:
        read_rows(line)
    assert "\n" not in str(raised.value)


def test_some_rows_are_chosen_by_name_in_the_lists_order():
    rows = read_rows(LIST)
    assert [row.name for row in select_rows(rows, ("box", "paper"))] == ["paper", "box"]
    assert select_rows(rows, ()) == rows
    with pytest.raises(
        EpsamError,
        match="row bax: not in the list; there are paper, raw, box, more, and table_2, table_3",
    ):
        select_rows(rows, ("bax",))


def test_a_line_may_be_another_method_with_the_pseudo_labels_of_a_row():
    rows = read_rows('paper\nu METHOD=unet_pseudo FROM=paper SEGMENTER_FLAGS="--epoch 3"\n')
    assert [(row.recipe, row.source) for row in rows] == [("ep_sam", ""), ("unet_pseudo", "paper")]
    assert rows[1].flag_text == "METHOD=unet_pseudo --epoch 3"


def test_a_table_stands_for_its_rows():
    rows = read_rows("paper\nmine\nraw UNTIL=masks\nunet METHOD=unet\nbox METHOD=sam_box")
    assert [row.name for row in select_rows(rows, ("table_2",))] == ["paper", "unet"]
    assert [row.name for row in select_rows(rows, ("mine", "table_3"))] == ["paper", "mine", "raw"]
