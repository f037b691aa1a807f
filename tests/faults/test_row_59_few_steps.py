"""Row 59 of docs/FAULTS.md: a training of so few steps that it stays at chance."""

import train
from engine.advice import FEW_STEPS, warnings
from engine.config import RunConfig, with_fields


def test_row_59_few_steps_are_warned_of():
    config = with_fields(RunConfig(), {"epochs": 4, "batch_size": 64})
    assert any("32 optimizer steps" in line for line in warnings(config, 500))
    assert warnings(config, 64 * FEW_STEPS // 4) == []
    assert warnings(config) == []


def test_row_59_both_interfaces_warn_before_the_start(tiny_args, tmp_path, capsys, app):
    assert train.main(tiny_args(tmp_path, "-e", 1)) == 0
    assert "warning: only 3 optimizer steps" in capsys.readouterr().err
    at = app("pages/1_Train.py")
    at.number_input(key="limit").set_value(48).run()
    assert any("optimizer steps" in warning.value for warning in at.warning)
