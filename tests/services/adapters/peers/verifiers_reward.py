"""verifiers scores traces of a task whose configuration plugs the example's reward in by its import path."""

import asyncio
import json

import verifiers.v1 as vf


class SumData(vf.TaskData):
    answer: str | None


class SumTask(vf.Task[SumData, vf.State, vf.TaskConfig]):
    @vf.reward(weight=0.25)
    async def polite(self, trace) -> float:
        return float("please" in trace.last_reply)


async def score(reply, answer):
    config = vf.TaskConfig(rewards={"assay": {"fn": "examples.adapters.verifiers_reward:assay", "weight": 2.0}})
    task = SumTask(SumData(prompt="2 + 2 = ?", answer=answer), config)
    trace = vf.Trace(
        task=vf.TraceTask(type="SumTask", data=task.data),
        agent=vf.AgentInfo(config=vf.AgentConfig()),
        nodes=[
            vf.MessageNode(message=vf.UserMessage(content="2 + 2 = ?")),
            vf.MessageNode(parent=0, message=vf.AssistantMessage(content=reply), sampled=True),
        ],
    )
    try:
        await task.score(trace)
    except vf.TaskError as error:
        trace.record_error(error)
    rewards = {name: reward and reward.model_dump() for name, reward in trace.rewards.items()}
    errors = [f"{error.type}: {error.message}" for error in trace.errors]
    return {"reward": trace.reward, "rewards": rewards, "metrics": trace.metrics, "errors": errors}


async def main():
    replies = ["please: \\boxed{4}", "\\boxed{5}", "4", "\\boxed{4}"]
    answers = ["4", "4", "4", None]
    print(json.dumps(await asyncio.gather(*map(score, replies, answers))))


asyncio.run(main())
