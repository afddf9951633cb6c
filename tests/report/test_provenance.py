from epsam.report.provenance import render_options, render_stages, stage_rows


def test_stages_are_in_the_order_in_which_they_ended():
    stages = {
        "b": {"ended": "2026-01-02", "seconds": 3.0, "peak_ram_gib": 1.5, "options": {}},
        "a": {
            "ended": "2026-01-01",
            "seconds": 2.0,
            "peak_gpu_gib": 4.0,
            "machine": {"gpu": "the older"},
        },
    }
    assert stage_rows(stages) == [
        {"stage": "a", "seconds": 2.0, "GPU, GiB": 4.0},
        {"stage": "b", "seconds": 3.0, "RAM, GiB": 1.5},
    ]
    stages["b"]["machine"] = {"cores": 2}
    assert "2026-01-02; 2 CPU cores; " in render_stages(stages)
    assert render_stages({}) == ""


def test_every_option_is_listed_as_a_user_would_type_it():
    page = render_options({"a stage": {"run": "", "lr": 0.5, "grid": [1, 2]}})
    assert "<summary>a stage: 3 options</summary>" in page
    assert [cell.split("<")[0] for cell in page.split("<td>")[1:]] == [
        "--run",
        "empty",
        "--lr",
        "0.5",
        "--grid",
        "1,2",
    ]
