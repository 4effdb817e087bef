"""The whole of Assay on one machine: every service and worker as a child process of one supervisor.

with Stack(state_dir=Path(".assay"), runs_dir=Path("runs")) as stack:
    client = JobsClient(stack.addresses["jobs"])
"""

from services.stack.spec import JUDGE_VARIABLE, ServiceSpec, StackError, default_services, rollout_spec, scorer_spec
from services.stack.supervisor import RunningStack, Stack, running_stack

__all__ = [
    "JUDGE_VARIABLE",
    "RunningStack",
    "ServiceSpec",
    "Stack",
    "StackError",
    "default_services",
    "rollout_spec",
    "running_stack",
    "scorer_spec",
]
