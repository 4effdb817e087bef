"""`rollouts.jsonl` after crashes: a step stands in it once."""

import json
import tracemalloc

from services.experience import ScoredCompletion, ScoredGroup
from services.rollout.engine import Completion, FinishReason
from trainer.lines import read_lines
from trainer.record import RolloutRecord


def group(serial, versions=(3, 4)):
    completion = Completion((5, 6), (-1.0, -2.0), "4 apples \u2028", FinishReason.STOP, min(versions), versions)
    scored = ScoredCompletion(completion, {"math/correctness": 1.0}, {"safety": "UNAVAILABLE"})
    return ScoredGroup(f"{serial}/p{serial}", "math", (1,), (scored,))


def test_a_line_says_what_was_trained_on(tmp_path):
    with RolloutRecord(tmp_path, 0, enabled=True) as record:
        record.write(7, [group(0)])
    (line,) = read_lines(tmp_path / "rollouts.jsonl")
    assert line == {
        "step": 7,
        "prompt": "0/p0",
        "domain": "math",
        "completions": [
            {
                "text": "4 apples \u2028",
                "tokens": 2,
                "versions": [3, 4],
                "finish": "STOP",
                "components": {"math/correctness": 1.0},
                "missing": {"safety": "UNAVAILABLE"},
            }
        ],
    }


def test_a_resumed_run_takes_back_what_its_checkpoint_does_not_know(tmp_path):
    with RolloutRecord(tmp_path, 0, enabled=True) as record:
        for step in range(4):
            record.write(step, [group(2 * step), group(2 * step + 1)])
    path = tmp_path / "rollouts.jsonl"
    path.write_text(path.read_text() + '{"step": 4, "promp')  # torn by a crash
    with RolloutRecord(tmp_path, 2, enabled=True) as record:
        record.write(2, [group(40)])
    lines = [json.loads(line) for line in path.read_text().split("\n") if line]
    assert [(line["step"], line["prompt"].split("/")[0]) for line in lines] == [
        (0, "0"), (0, "1"), (1, "2"), (1, "3"), (2, "40"),
    ]  # fmt: skip


def test_other_ranks_write_nothing(tmp_path):
    with RolloutRecord(tmp_path, 0, enabled=False) as record:
        record.write(0, [group(0)])
    assert list(tmp_path.iterdir()) == []


def test_a_record_of_any_size_is_resumed_without_being_held_in_memory(tmp_path):
    path = tmp_path / "rollouts.jsonl"
    line = json.dumps({"step": 0, "prompt": "0/p0", "domain": "math", "completions": [{"text": "4" * 2**20}]}) + "\n"
    path.write_text(line * 32)
    tracemalloc.start()
    with RolloutRecord(tmp_path, 1, enabled=True):
        _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert path.read_text() == line * 32
    assert most < 16 * 2**20
