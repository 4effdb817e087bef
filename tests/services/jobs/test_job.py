"""What may be a job, and what may follow which state."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.jobs.job import NEXT_STATES, JobState, check_config, new_job_id


def test_ended_jobs_stay_as_they_are() -> None:
    assert {state for state in JobState if state.final} == {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED}
    assert all(JobState.QUEUED not in NEXT_STATES[state] for state in JobState if state != JobState.RUNNING)


def test_the_name_comes_from_the_job_table() -> None:
    assert check_config('{"job": {"name": "My run"}, "anything": [1]}') == "My run"


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ("", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"job": ' + "9" * 5000 + "}", "config_json is not JSON"),
        ("[]", "a JSON list"),
        ("{}", "no object `job`"),
        ('{"job": 3}', "no object `job`"),
        ('{"job": {}}', "`job.name`"),
        ('{"job": {"name": "  "}}', "`job.name`"),
        ('{"job": {"name": 7}}', "`job.name`"),
        ('{"job": {"name": "a\\nb"}}', "`job.name`"),
        (json.dumps({"job": {"name": "x" * 101}}), "`job.name`"),
        ('{"job": {"name": "a", "max_attempts": 0}}', "`job.max_attempts`"),
        ('{"job": {"name": "a", "max_attempts": true}}', "`job.max_attempts`"),
        ('{"job": {"name": "a", "max_attempts": 2.5}}', "`job.max_attempts`"),
        (json.dumps({"job": {"name": "a"}, "x": "é" * 524_288}), "1048576"),
    ],
)
def test_what_cannot_be_a_job_file_is_named(config: str, says: str) -> None:
    if "1048576" in says:
        config = config.replace("\\u00e9", "é")
    with pytest.raises(ValueError, match=re.escape(says)):
        check_config(config)


@given(st.text(min_size=1, max_size=100))
def test_ids_are_good_folder_names(name: str) -> None:
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?-[0-9a-f]{8}", new_job_id(name))


def test_ids_show_the_name() -> None:
    assert new_job_id("GRPO, réponse 7!").startswith("grpo-r-ponse-7-")
