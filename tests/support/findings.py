"""Findings of the preflight checks, as tests compare them."""


def listed(findings):
    """(stops_run, message) of each finding."""
    return [(finding.stops_run, finding.message) for finding in findings]


def assert_single(findings, stops_run, *words):
    """There is one finding, it stops the run or not, and its message holds all words."""
    (finding,) = list(findings)
    assert finding.stops_run is stops_run
    for word in words:
        assert word in finding.message
