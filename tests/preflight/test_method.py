from epsam.preflight.method import check_method_preset
from support.findings import listed


def test_a_method_without_constants_of_the_authors_is_noted():
    (finding,) = check_method_preset("strong", "authors")
    assert finding.is_note
    assert finding.message.startswith("METHOD_PRESET authors: no constants of strong are known")
    assert listed(check_method_preset("unet", "authors")) == []
    assert listed(check_method_preset("strong", "default")) == []
