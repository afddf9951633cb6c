from epsam.paths import RunPaths
from epsam.training.rounds import _remove_rounds_after


def test_a_round_that_is_done_again_takes_the_later_ones_with_it(tmp_path):
    run = RunPaths(tmp_path)
    for number in range(4):
        run.round_decoder(number).touch()
        run.pseudo_masks(number).mkdir(parents=True)
        (run.pseudo_masks(number) / "a_1.png").touch()
    run.round_decoder(2).unlink()
    _remove_rounds_after(1, run)
    assert sorted(path.name for path in tmp_path.glob("*.pth")) == ["decoder_iter1.pth", "sam_pre_decoder.pth"]
    assert sorted(path.name for path in (tmp_path / "masks").iterdir()) == ["iter_0", "iter_1"]
