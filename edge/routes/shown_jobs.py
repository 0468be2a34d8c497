"""Jobs as their owner sees them now, wherever they run: row, images, and what was told last."""

from collections.abc import Sequence
from functools import partial

from edge.db.rows import JobRow
from edge.domain import jobs
from edge.domain.owner import Caller, JobId
from edge.routes.replies import Generation, Queue, generation
from edge.services import Services
from serve_app.contract import Queued

TELL_MORE = (
    "queued",
    "failed",
    "blocked",
)  # events know more than rows: where it waits, when to try again, what it was


async def shown(page: Sequence[JobRow], caller: Caller, services: Services) -> list[Generation]:
    ids = [job.id for job in page]
    rows = await services.database.read(partial(jobs.images_of, job_ids=ids, now=services.clock()))
    told = await services.hub.last_states([JobId(job.id) for job in page if job.status in TELL_MORE])
    return [
        generation(job, [row for row in rows if row.job_id == job.id], told.get(JobId(job.id)), caller, services)
        for job in page
    ]


async def just_accepted(job: JobRow, caller: Caller, services: Services) -> Generation:
    """Nothing of it has been drawn: no row is read."""
    told = await services.hub.last_states([JobId(job.id)])
    return generation(job, [], told.get(JobId(job.id)), caller, services)


def queue_headers(queue: Queue | Queued | None) -> dict[str, str]:
    """While it waits: how many are ahead, and seconds to its last picture."""
    if queue is None:
        return {}
    return {"X-Sfumato-Queue-Position": str(queue.position), "X-Sfumato-Queue-Eta": f"{queue.eta_s:.1f}"}
