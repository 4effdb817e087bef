"""A user's own loss: prime-rl's published file byte for byte, import paths that fail, and results that are no loss."""

import os
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from trainer.composite import Composite
from trainer.imports import ImportPathError
from trainer.losses.aggregation import Counts
from trainer.losses.clipped import ppo_clip
from trainer.losses.contract import LossInputs, LossOutputs
from trainer.losses.packed import PackedBatch
from trainer.losses.user import LossContractError, load_loss, per_scope
from trainer.term import make_term

GUIDE = Path(os.environ.get("ASSAY_DATA", Path(__file__).parents[3] / "shared" / "data")) / "prime_rl_guide"


def batch_of_two(loss_mask=(True, True, True, True, True), **changes):
    generator = torch.Generator().manual_seed(1)
    logprobs = -torch.rand(5, generator=generator, dtype=torch.float64) * 3
    return PackedBatch(
        **{
            "trainer_logprobs": logprobs.clone().requires_grad_(),
            "sequence_index": torch.tensor([0, 0, 0, 1, 1]),
            "sequence_count": 2,
            "loss_mask": torch.tensor(loss_mask),
            "inference_logprobs": logprobs + torch.randn(5, generator=generator, dtype=torch.float64) * 0.3,
            "advantages": torch.tensor([1.0, 1.0, 1.0, -2.0, -2.0], dtype=torch.float64),
            **changes,
        }
    )


@pytest.fixture
def guide_loss(monkeypatch):
    if not GUIDE.exists():
        pytest.skip(f"{GUIDE} is absent")
    monkeypatch.syspath_prepend(str(GUIDE))
    yield tomllib.loads((GUIDE / "loss.toml").read_text())["loss"]
    for name in [name for name in sys.modules if name.split(".")[0] in ("my_project", "prime_rl")]:
        del sys.modules[name]


def test_the_file_of_prime_rls_guide_trains_as_the_built_in_term_does(guide_loss):
    batch = batch_of_two()
    guide = make_term("loss", path=guide_loss["path"], kwargs=guide_loss["kwargs"])
    built_in = make_term("loss", type="ppo_clip")
    seen = []
    for term in (guide, built_in):
        composite = Composite([term])
        loss = composite.loss(batch, composite.normalisers(Counts(5, 2)), 0, 1).loss
        seen.append((loss.item(), torch.autograd.grad(loss, batch.trainer_logprobs)[0]))
    assert seen[0][0] == pytest.approx(seen[1][0], abs=1e-15)
    assert torch.allclose(seen[0][1], seen[1][1], atol=1e-15, rtol=0)


def test_the_guides_metrics_become_means_over_sequences(guide_loss):
    batch = batch_of_two()
    output = per_scope(load_loss(guide_loss["path"]), "sequence")(batch, clip_eps=0.2)
    ratio = (batch.trainer_logprobs - batch.inference_logprobs).exp().detach()
    assert output.metrics["ratio_mean"].count == 2
    expected = ratio[:3].mean() + ratio[3:].mean()
    assert output.metrics["ratio_mean"].total.item() == pytest.approx(expected.item())


def test_the_guides_types_are_ours_where_prime_rl_is_not_installed(guide_loss):
    load_loss(guide_loss["path"])
    from prime_rl.trainer.rl.loss import LossInputs as Inputs  # pyright: ignore[reportMissingImports]

    assert Inputs is LossInputs


def test_an_installed_prime_rl_is_left_alone(tmp_path, monkeypatch):
    package = tmp_path / "prime_rl" / "trainer" / "rl"
    package.mkdir(parents=True)
    for folder in (tmp_path / "prime_rl", tmp_path / "prime_rl" / "trainer", package):
        (folder / "__init__.py").touch()
    (package / "loss.py").write_text("class LossInputs: pass\nclass LossOutputs: pass\n")
    (tmp_path / "mine.py").write_text("from prime_rl.trainer.rl.loss import LossInputs\ndef f(inputs): ...\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("prime_rl", "prime_rl.trainer", "prime_rl.trainer.rl", "prime_rl.trainer.rl.loss", "mine"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    assert vars(sys.modules[load_loss("mine.f").__module__])["LossInputs"] is not LossInputs
    for name in [name for name in sys.modules if name.split(".")[0] == "prime_rl"]:
        del sys.modules[name]


def test_masked_positions_hold_zeros_before_user_code_sees_them():
    garbage = torch.tensor([-1.0, -900.0, float("-inf"), -1.0, -1.0], dtype=torch.float64)
    batch = batch_of_two(
        loss_mask=(True, False, False, True, True),
        trainer_logprobs=garbage.clone().requires_grad_(),
        ref_logprobs=garbage + 5,
        entropy=torch.full((5,), 9.0, dtype=torch.float64),
    )

    def overflows_if_it_can(inputs):
        assert inputs.trainer_logprobs[1:].tolist() == [0, 0] or len(inputs.trainer_logprobs) == 2
        per_token = (inputs.inference_logprobs - inputs.trainer_logprobs).exp() + inputs.ref_logprobs
        return LossOutputs(per_token.where(inputs.loss_mask, 0).sum(), {})

    output = per_scope(overflows_if_it_can, "sequence")(batch)
    (gradient,) = torch.autograd.grad(output.values.sum(), batch.trainer_logprobs)
    assert gradient.isfinite().all() and gradient[1:3].tolist() == [0.0, 0.0] and gradient[0] != 0


def test_a_sequence_without_tokens_that_count_is_not_shown():
    shown = []

    def remember(inputs):
        shown.append(len(inputs.loss_mask))
        return LossOutputs(inputs.trainer_logprobs.sum(), {"m": torch.tensor([1.0, 3.0])})

    output = per_scope(remember, "sequence")(batch_of_two(loss_mask=(False, False, False, True, True)))
    assert shown == [2]
    assert output.values[0].item() == 0.0
    assert (output.metrics["m"].total.item(), output.metrics["m"].count) == (2.0, 1.0)


def test_a_metric_that_is_no_number_is_named():
    function = per_scope(lambda inputs: LossOutputs(inputs.trainer_logprobs.sum(), {"why": "clipped"}), "sequence")
    with pytest.raises(LossContractError, match="metric 'why' is str; return numbers or tensors of them"):
        function(batch_of_two())


def test_a_metric_of_no_tokens_is_left_out_of_its_mean():
    def of_the_good(inputs):
        good = inputs.trainer_logprobs.detach()[inputs.advantages > 0]
        return LossOutputs(inputs.trainer_logprobs.sum(), {"good": good, "never": good[:0]})

    output = per_scope(of_the_good, "sequence")(batch_of_two(trainer_logprobs=torch.full((5,), -2.0)))
    assert (output.metrics["good"].total.item(), output.metrics["good"].count) == (-2.0, 1.0)
    assert "never" not in output.metrics


def test_in_demonstrations_the_policy_is_its_own_behaviour_and_advantages_are_one():
    batch = batch_of_two(inference_logprobs=None, advantages=None)

    def surrogate(inputs):
        return LossOutputs(-((inputs.trainer_logprobs - inputs.inference_logprobs).exp() * inputs.advantages).sum(), {})

    output = per_scope(surrogate, "sequence")(batch)
    assert output.values.tolist() == [-3.0, -2.0]
    assert torch.autograd.grad(output.values.sum(), batch.trainer_logprobs)[0].tolist() == [-1.0] * 5


def test_any_object_with_loss_and_metrics_will_do():
    own = per_scope(lambda inputs: SimpleNamespace(loss=-inputs.trainer_logprobs.sum(), metrics=None), "sequence")
    output = own(batch_of_two())
    assert output.per == "sequence" and output.metrics == {}


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (lambda inputs: inputs.trainer_logprobs.sum(), "it returned Tensor; return LossOutputs"),
        (lambda inputs: None, "it returned NoneType"),
        (lambda inputs: LossOutputs(0.5, {}), "loss is float; it must be a scalar tensor"),
        (lambda inputs: LossOutputs(inputs.trainer_logprobs, {}), r"loss is \(3,\); it must be a scalar tensor"),
    ],
)
def test_what_is_no_loss_is_refused(result, said):
    with pytest.raises(LossContractError, match=said):
        per_scope(result, "sequence")(batch_of_two())


def test_two_forms_of_the_clipped_surrogate_agree_sequence_by_sequence():
    batch = batch_of_two()
    whole = ppo_clip(batch)
    sums = batch.sequence_sums(whole.values)

    def one(inputs):
        alone = PackedBatch(
            inputs.trainer_logprobs, torch.zeros_like(inputs.loss_mask, dtype=torch.int64), 1, inputs.loss_mask,
            inference_logprobs=inputs.inference_logprobs, advantages=inputs.advantages,
        )  # fmt: skip
        return LossOutputs(ppo_clip(alone).values.sum(), {})

    assert torch.allclose(per_scope(one, "sequence")(batch).values, sums, atol=1e-15, rtol=0)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("loss", "must be package.module.function"),
        ("no_such_package.losses.mine", "no_such_package.losses cannot be imported: ModuleNotFoundError"),
        ("broken.mine", "broken cannot be imported: ZeroDivisionError: division by zero"),
        ("whole.loss_functon", "did you mean 'loss_function'"),
        ("whole.NUMBER", "of type int, which cannot be called"),
    ],
)
def test_a_path_that_leads_nowhere_says_where_it_ends(path, said, tmp_path, monkeypatch):
    (tmp_path / "broken.py").write_text("1 / 0\n")
    (tmp_path / "whole.py").write_text("NUMBER = 3\ndef loss_function(inputs): ...\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "whole", raising=False)
    with pytest.raises(ImportPathError) as caught:
        load_loss(path)
    assert said in str(caught.value) and repr(path) in str(caught.value)
    assert ("PYTHONPATH" in str(caught.value)) == (path == "no_such_package.losses.mine")
