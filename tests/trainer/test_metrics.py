"""Metrics of a run that was interrupted read like those of one that was not."""

import json

from trainer.metrics import MetricsLog, read_metrics
from trainer.report import draw_curves


def write(run_dir, phase, first, steps, values=None):
    with MetricsLog(run_dir, phase, first, enabled=True) as log:
        for step in steps:
            log.write(step, values or {"reward/total": step / 10})


def test_a_resumed_phase_takes_back_what_came_after_its_checkpoint(tmp_path):
    write(tmp_path, "warmup", 0, range(3))
    write(tmp_path, "rl", 0, range(5))
    write(tmp_path, "rl", 2, range(2, 4))
    assert [(line["phase"], line["step"]) for line in read_metrics(tmp_path)] == [
        *(("warmup", step) for step in range(3)),
        *(("rl", step) for step in range(4)),
    ]


def test_a_line_torn_by_a_crash_is_dropped(tmp_path):
    write(tmp_path, "rl", 0, range(2))
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"phase": "rl", "st')
    write(tmp_path, "rl", 2, [2])
    assert [line["step"] for line in read_metrics(tmp_path)] == [0, 1, 2]


def test_not_finite_values_are_null_and_the_file_stays_json(tmp_path):
    write(tmp_path, "rl", 0, [0], {"a": float("nan"), "b": float("-inf"), "c": 1.5})
    (line,) = [json.loads(text) for text in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert line["values"] == {"a": None, "b": None, "c": 1.5}


def test_other_ranks_write_nothing(tmp_path):
    with MetricsLog(tmp_path, "rl", 0, enabled=False) as log:
        log.write(0, {"a": 1.0})
    assert list(tmp_path.iterdir()) == []


def test_curves_are_drawn_from_the_rl_phase(tmp_path):
    write(tmp_path, "rl", 0, range(3), {"reward/total": 0.5, "term/kl/value": 0.1, "term/kl/weight": 0.0, "rollout/length": 3.0})
    picture = draw_curves(tmp_path)
    assert picture.read_bytes().startswith(b"\x89PNG")
