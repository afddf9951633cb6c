from epsam.config.decoder import DecoderOptions
from epsam.preflight.method import check_method_preset, check_soft_targets
from support.findings import listed


def test_a_method_without_constants_of_the_authors_is_noted():
    (finding,) = check_method_preset("strong", "authors")
    assert finding.is_note
    assert finding.message.startswith("METHOD_PRESET authors: no constants of strong are known")
    assert listed(check_method_preset("unet", "authors")) == []
    assert listed(check_method_preset("strong", "default")) == []


def test_soft_rounds_need_a_soft_preliminary_decoder():
    soft, hard = DecoderOptions(soft_targets=True), DecoderOptions()
    (finding,) = check_soft_targets({"finetune_decoder": hard, "retrain_decoder": soft})
    assert finding.stops_run
    assert finding.message.endswith("give it in DECODER_FLAGS, too")
    for preliminary, rounds in ((soft, soft), (soft, hard), (hard, hard)):
        of_stage = {"finetune_decoder": preliminary, "retrain_decoder": rounds}
        assert listed(check_soft_targets(of_stage)) == []


def test_a_method_without_rounds_has_no_soft_targets_to_check():
    assert listed(check_soft_targets({"finetune_decoder": DecoderOptions()})) == []
