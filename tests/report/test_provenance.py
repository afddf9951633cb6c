from epsam.report.provenance import (
    describe_last_machine,
    option_tables,
    stage_rows,
    stage_table,
)


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
    assert describe_last_machine(stages).startswith("2026-01-02; 2 CPU cores; ")
    assert stage_table(stages).columns == ["stage", "seconds", "RAM, GiB", "GPU, GiB"]
    assert stage_table({}) is None
    assert describe_last_machine({}) == ""


def test_every_option_is_listed_as_a_user_would_type_it():
    (table,) = option_tables({"a stage": {"run": "", "lr": 0.5, "grid": [1, 2]}, "none": {}})
    assert table.summary == "a stage: 3 options"
    assert table.lines == [["--run", "empty"], ["--lr", "0.5"], ["--grid", "1,2"]]
