"""Numbers that move by what training shows: bounded, with a state that goes into the checkpoint.

A controller's value at a step depends on the metrics of the steps before it, never on its own step's. Fed with metrics
that all ranks agree on, it has the same value on all of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from trainer import controller_rules as rules
from trainer.controller_spec import KINDS, ControllerError, ControllerSpec, term_of


class Controller:
    """One moving number. It is always between its `min` and its `max`."""

    def __init__(self, spec: ControllerSpec) -> None:
        self.spec = spec
        self.value = float(spec.parameters["start"])
        self.unchanged = 0
        """Updates that found no finite metric, and changed nothing."""
        self._memory: dict[str, float] = {}

    def __call__(self, step: int, total_steps: int) -> float:
        """The value now, as a schedule is called; the step does not matter."""
        return self.value

    def update(self, metrics: Mapping[str, float], term: str | None = None) -> None:
        """Moves the value by a step's metrics. One that is missing or not finite leaves all as it was, and is counted.

        term: the term it belongs to, for kinds that watch its value. Raises ControllerError for `gradnorm`, which moves
        several together: see `Controllers`.
        """
        rule = KINDS[self.spec.kind].rule
        if rule is None:
            raise ControllerError(f"{self.spec.kind} moves several values together: update them through Controllers")
        seen = metrics.get(f"term/{term}/value" if self.spec.of_term else self.spec.parameters["metric"], math.nan)
        if not math.isfinite(seen) or (self.spec.needs_non_negative and seen < 0):
            self.unchanged += 1
            return
        value, self._memory = rule(self.spec.parameters, self.value, self._memory, float(seen))
        self._move(value)

    def state_dict(self) -> dict[str, Any]:
        """Plain values that JSON keeps to the bit."""
        return {"value": self.value, "unchanged": self.unchanged, "memory": dict(self._memory)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from what `state_dict` gave. A value out of bounds, of a job since changed, is brought back to them."""
        self.unchanged, self._memory = int(state["unchanged"]), dict(state["memory"])
        self._move(float(state["value"]))

    def _move(self, value: float) -> None:
        self.value = float(min(self.spec.parameters["max"], max(self.spec.parameters["min"], value)))


class Controllers:
    """All controllers of a run, by the place where each stands: `terms.kl.weight`, `rewards.math/correctness`."""

    def __init__(self, places: Mapping[str, object]) -> None:
        """places: whatever stands where a number may move. What is no Controller is not kept."""
        self._controllers = {place: each for place, each in places.items() if isinstance(each, Controller)}

    def update(self, metrics: Mapping[str, float]) -> None:
        """Moves all values by the metrics of a step, which must be the same on all ranks."""
        balanced: dict[str, Controller] = {}
        for place, controller in self._controllers.items():
            term = term_of(place)
            if controller.spec.kind == "gradnorm":
                balanced[str(term)] = controller
            else:
                controller.update(metrics, term)
        _balance(balanced, metrics)

    def metrics(self) -> dict[str, float]:
        """`controller/<place>`, the values now, and `controller/<place>/unchanged`, updates without a finite metric."""
        values = {f"controller/{place}": each.value for place, each in self._controllers.items()}
        return values | {f"controller/{p}/unchanged": float(each.unchanged) for p, each in self._controllers.items()}

    def state_dict(self) -> dict[str, Any]:
        """Plain values that JSON keeps to the bit."""
        return {place: controller.state_dict() for place, controller in self._controllers.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from what `state_dict` gave. Raises ControllerError where it is of other controllers."""
        if state.keys() != self._controllers.keys():
            raise ControllerError(
                f"the checkpoint has controllers for {', '.join(state) or 'nothing'}, the job for"
                f" {', '.join(self._controllers) or 'nothing'}; resume with the job file it was made with"
            )
        for place, controller in self._controllers.items():
            controller.load_state_dict(state[place])


def _balance(terms: Mapping[str, Controller], metrics: Mapping[str, float]) -> None:
    """Moves the weights of all terms under GradNorm, or none of them where something about one of them is not known."""
    controllers = list(terms.values())
    values = [metrics.get(f"term/{term}/value", math.nan) for term in terms]
    norms = [metrics.get(f"term/{term}/gradient_norm", math.nan) for term in terms]
    negative = any(c.spec.needs_non_negative and value < 0 for c, value in zip(controllers, values, strict=True))
    if negative or not all(map(math.isfinite, (*values, *norms))):
        for controller in controllers:
            controller.unchanged += 1
        return
    if controllers:
        ratios = [_ratio(controller, value) for controller, value in zip(controllers, values, strict=True)]
        parameters = [controller.spec.parameters for controller in controllers]
        _move_all(controllers, rules.gradnorm(parameters, [c.value for c in controllers], norms, ratios))


def _ratio(controller: Controller, value: float) -> float:
    """A term's value over its first. The first is the first above 0: a KL to the policy it began as begins with 0."""
    first = controller._memory.setdefault("first", value) if value > 0 else controller._memory.get("first", 0.0)
    return min(value / first, 1e6) if first > 0 else 1.0


def _move_all(controllers: Sequence[Controller], values: Sequence[float]) -> None:
    for controller, value in zip(controllers, values, strict=True):
        controller._move(value)
