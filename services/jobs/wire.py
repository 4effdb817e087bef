"""Jobs on the wire: protobuf messages to plain types and back, for the servicer and the client alike."""

from __future__ import annotations

from protos.gen.assay.v1 import jobs_pb2
from services.jobs.job import Job, JobEvent, JobState, LogLine, StepMetrics


def job_to_wire(job: Job) -> jobs_pb2.Job:
    return jobs_pb2.Job(
        id=job.id,
        name=job.name,
        state=job.state.value,
        message=job.message,
        step=job.step,
        total_steps=job.total_steps,
        attempts=job.attempts,
        failures=job.failures,
        submitted_at=job.submitted_at,
        started_at=job.started_at,
        ended_at=job.ended_at,
        run_dir=job.run_dir,
        config_json=job.config_json,
        deduplicated=job.deduplicated,
    )


def job_from_wire(job: jobs_pb2.Job) -> Job:
    return Job(
        id=job.id,
        name=job.name,
        state=JobState(jobs_pb2.JobState.Name(job.state)),
        message=job.message,
        step=job.step,
        total_steps=job.total_steps,
        attempts=job.attempts,
        failures=job.failures,
        submitted_at=job.submitted_at,
        started_at=job.started_at,
        ended_at=job.ended_at,
        run_dir=job.run_dir,
        config_json=job.config_json,
        deduplicated=job.deduplicated,
    )


def event_to_wire(event: JobEvent) -> jobs_pb2.JobEvent:
    sent = jobs_pb2.JobEvent(cursor=event.cursor, at=event.at)
    match event.what:
        case Job():
            sent.job.CopyFrom(job_to_wire(event.what))
        case StepMetrics(step, values):
            sent.metrics.CopyFrom(jobs_pb2.StepMetrics(step=step, values=values))
        case LogLine(line):
            sent.log = line
    return sent


def event_from_wire(event: jobs_pb2.JobEvent) -> JobEvent:
    match event.WhichOneof("event"):
        case "job":
            what: Job | StepMetrics | LogLine = job_from_wire(event.job)
        case "metrics":
            what = StepMetrics(event.metrics.step, dict(event.metrics.values))
        case _:
            what = LogLine(event.log)
    return JobEvent(event.cursor, event.at, what)
