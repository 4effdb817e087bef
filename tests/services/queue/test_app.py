"""Settings of Celery on which the promises of the queue rest; what they do is tested with real workers."""

from __future__ import annotations

import pytest

from services.queue.app import make_app
from services.queue.queues import lease_seconds, visibility_timeout_seconds


def test_a_killed_worker_cannot_keep_others_from_looking_for_its_messages() -> None:
    # kombu's mutex around that look lasts for 5 minutes by default, and a worker may be killed while it holds it
    assert make_app("redis://127.0.0.1:1/0").conf.broker_transport_options["unacked_mutex_expire"] <= 5


def test_nothing_but_json_is_sent_or_accepted() -> None:
    app = make_app("redis://127.0.0.1:1/0")
    assert (app.conf.task_serializer, app.conf.accept_content) == ("json", ["json"])


@pytest.mark.parametrize("text", ["soon", "0.5", "-1", "nan", "inf", "100000"])
def test_a_bad_visibility_time_out_is_named(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_VISIBILITY_TIMEOUT_SECONDS", text)
    with pytest.raises(ValueError, match="ASSAY_VISIBILITY_TIMEOUT_SECONDS"):
        visibility_timeout_seconds()


@pytest.mark.parametrize(("text", "visibility", "lease"), [("", 30.0, 10.0), ("6", 6.0, 2.0), ("3600", 3600.0, 10.0)])
def test_a_lease_runs_out_before_the_message_comes_again(
    text: str, visibility: float, lease: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASSAY_VISIBILITY_TIMEOUT_SECONDS", text)
    assert (visibility_timeout_seconds(), lease_seconds()) == (visibility, lease)
