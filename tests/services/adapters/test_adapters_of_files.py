"""verl, OpenRLHF, verifiers and NeMo RL: the examples, called by what each trainer itself calls them with."""

import json

import pytest

EXAMPLES = "examples/adapters"


@pytest.fixture(scope="module")
def root(pytestconfig):
    return pytestconfig.rootpath


def test_verl_loads_the_file_and_scores_a_batch(run_peer, root):
    """verl's RewardLoopWorker, its loader and its reward manager, on tensors as its rollouts make them. No GPU, no Ray."""
    found = run_peer("verl_reward.py", str(root / EXAMPLES / "verl_reward.py"))
    right, wrong, number = found["scored"]
    weighed = {"math/correctness": 1.0, "math/format": 1.0}
    assert right == {"reward_score": 1.1, "reward_extra_info": {"score": 1.1, **weighed}}
    assert wrong["reward_score"] == 0.1
    assert number["reward_score"] == 1.1
    missing, elsewhere = found["faults"]
    assert missing.startswith("MissingRewardError: 1 of 1 responses have no reward; the first: math: INVALID_ITEM")
    assert elsewhere.startswith("ValueError: no domain for the data source 'elsewhere'")


ASKED = [["It is \\boxed{4}", "4"], ["\\boxed{5}", "4"], ["I do not know", "7"], ["\\boxed{4}", None]]


def test_openrlhf_calls_the_file(run_peer, root):
    """OpenRLHF's own executor; only vLLM is stood in for, by an engine that says what it is told. The prompt holds a boxed
    answer, which is not the response's. What has no reward has none in OpenRLHF either."""
    (found,) = run_peer("openrlhf_reward.py", json.dumps([[str(root / EXAMPLES / "openrlhf_reward.py"), ASKED]]))
    assert [one["reward"] for one in found] == [1.1, 0.1, 0.0, None]
    assert found[0] == {
        "reward": 1.1,
        "scores": 1.1,
        "extra_logs": {"math/correctness": 1.0, "math/format": 1.0, "math/syntax": 1.0},
    }


def test_openrlhf_posts_to_the_server(run_peer, start_service, scorers):
    """OpenRLHF's own HTTP client against `assay serve --http`. It asks five times where a reward is missing."""
    server = start_service("services.http", "--address", f"math={scorers['math']}", "--weight", "math/correctness=2")
    url = f"http://{server.address}/v1/openrlhf?domain=math"
    asked = [[url, ASKED[:3]], [url, ASKED[3:]], [url + "&missing=-1", ASKED[3:]]]
    found, (absent,), (chosen,) = run_peer("openrlhf_reward.py", json.dumps(asked))
    assert [one["reward"] for one in found] == [2.0, 0.0, 0.0]
    assert (absent["reward"], absent["scores"]) == (None, None)
    assert server.metrics()['assay_requests_total{code="503",method="/v1/openrlhf"}'] == 5
    assert chosen["reward"] == -1.0


def test_verifiers_scores_traces_by_the_plugged_reward(run_peer):
    """verifiers' own `Task.score`, which finds the reward by its import path; prime-rl's environments score by it."""
    right, wrong, unmarked, absent = run_peer("verifiers_reward.py")
    assert right["rewards"] == {
        "assay": {"score": 1.1, "weight": 2.0},
        "polite": {"score": 1.0, "weight": 0.25},
    }
    assert right["reward"] == pytest.approx(2.45)
    assert right["metrics"] == {"math/correctness": 1.0, "math/format": 1.0, "math/syntax": 1.0}
    assert (wrong["rewards"]["assay"]["score"], unmarked["rewards"]["assay"]["score"]) == (0.1, 1.0)
    assert absent["rewards"] == {"assay": None, "polite": None}
    (error,) = absent["errors"]
    assert error.startswith("TaskError: ") and "INVALID_ITEM" in error


def test_rubrics_of_verifiers_never_make_a_missing_reward_zero(run_peer):
    """The `vf.Rubric` of verifiers 0.3.1, the last version that had one, scores rollouts; it takes 0 for what raises."""
    right, wrong, absent, chosen, unheard, environment = run_peer("verifiers_rubric.py")
    assert right == {"reward": 2.0 * 1.1 + 0.25, "metrics": {"assay": 1.1, "polite": 1.0}, "error": ""}
    assert (wrong["metrics"]["assay"], wrong["error"]) == (0.1, "")
    assert (absent["reward"], absent["metrics"]["assay"]) == (None, None)
    assert "MissingRewardError" in absent["error"] and "INVALID_ITEM" in absent["error"]
    assert (chosen["metrics"]["assay"], chosen["error"]) == (-1.0, "")
    assert (unheard["metrics"]["assay"], "no column 'solution'" in unheard["error"]) == (None, True)
    assert environment == [0.1, 1.1]  # of a SingleTurnEnv with an OpenAI client


def test_nemo_rl_steps_the_environment(run_peer):
    """A stand-in for `nemo_rl.environments.interfaces`, as the package on the index holds no code: it has the interface's
    two names with their fields. Ray is real: the environment is an actor, as NeMo RL makes one of it."""
    found = run_peer("nemo_rl_step.py")
    assert found["base"] == [found["type"]] == ["nemo_rl.environments.interfaces"]
    # right and marked; wrong and marked; only the last turn counts, unmarked; one and a half times the limit of words
    assert found["rewards"] == [1.5, 0.5, 0.0, 1.0]
    assert found["dtype"] == "torch.float32"
    assert found["terminateds"] == [1.0] * 4
    assert found["observations"][0] == {"role": "environment", "content": "correct"}
    assert found["answers"] == ["4", "5", "3", None]
    assert found["metadata"][3] == {"ground_truth": None, "domain": "brevity"}
    assert found["stops"] == [None] * 4
    assert (found["batch"], found["metrics"]) == (found["rewards"], {"assay/reward": 0.75})
    assert "MissingRewardError" in found["raised"] and "INVALID_ITEM" in found["raised"]
    assert found["chosen"] == [-1.0, 0.5]
