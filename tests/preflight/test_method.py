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
    (finding,) = check_soft_targets(hard, soft)
    assert finding.stops_run
    assert finding.message.endswith("give it in DECODER_FLAGS, too")
    assert listed(check_soft_targets(soft, soft)) == []
    assert listed(check_soft_targets(soft, hard)) == []
    assert listed(check_soft_targets(hard, hard)) == []
