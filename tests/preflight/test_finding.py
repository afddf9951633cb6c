from epsam.core.errors import DatasetError
from epsam.preflight.finding import collect_findings, problem, warning
from support.findings import listed


def test_an_error_in_one_check_does_not_hide_the_others():
    def breaks():
        yield warning("first")
        raise DatasetError("second\nline")

    assert listed(collect_findings([breaks, lambda: [problem("third")]])) == [
        (False, "first"),
        (True, "second line"),
        (True, "third"),
    ]
