"""RQ: a job of which one runs in all workers at a time, by a lead with a fencing token."""

import os
import socket
from collections.abc import Callable

import redis
from rq import get_current_job

from demo.client.leader import Leader


def as_leader(client: redis.Redis, name: str, work: Callable[[int], None]) -> bool:
    """Does the work unless another worker does it now; whether it was done. `work` is given the
    token: whatever it stores has to be refused under a lower one than the last."""
    job = get_current_job()
    who = f"{socket.gethostname()}:{os.getpid()}:{job.id if job else 'no job'}"
    leader = Leader(client, name, who, ttl_seconds=30.0)
    leader.campaign()
    if not leader.token:
        return False
    try:
        work(leader.token)
    finally:
        leader.resign()
    return True


def nightly(url: str) -> bool:
    """What is enqueued: queue.enqueue(nightly, url)."""
    with redis.Redis.from_url(url) as client:
        return as_leader(client, "nightly", lambda token: client.set("report", token) and None)
