"""What runs beside the requests: jobs that one elected process runs, and jobs that every process
has.

A use case adds its jobs when the app is made. Threads begin with `start`, which comes after a fork,
in a web worker or in `flask --app wsgi worker`. A job is a function that does one step and says
after how many seconds the next is due. An elected job is given the token of the lead. Without Redis
no process is the leader, so elected jobs wait until it is back.
"""

import atexit
import contextlib
import logging
import os
import secrets
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from demo.client.contract import PREFIX, RedisClient, beginning, checked, errors_of
from demo.client.leader import Leader

AGAIN_SECONDS = 0.25
log = logging.getLogger(__name__)


@dataclass
class Job:
    """One job. An elected one has a `leader` from the start of the threads on, which it shares with
    those that are done `along` with it. While it is `asleep`, it waits for the lead alone."""

    name: str
    step: Callable[[int], float]
    elected: bool
    leader: Leader | None = None
    due: threading.Event = field(default_factory=threading.Event)
    trouble: str = ""
    lead: str = ""
    along: Sequence["Job"] = ()
    asleep: bool = False


def process_name() -> str:
    """This process, told apart from those of other machines."""
    return f"{socket.gethostname()[:32].replace(' ', '-')}:{os.getpid()}"


class Background:
    """The jobs of one process. `elects` says whether it asks for the lead of any; `ttl_seconds` is
    how long a lead lasts without its leader."""

    def __init__(
        self,
        client: RedisClient,
        *,
        elects: bool,
        ttl_seconds: float = 3.0,
        prefix: str = PREFIX,
    ) -> None:
        self.elects = elects
        self.ttl_seconds = ttl_seconds
        self.jobs: dict[str, Job] = {}
        beginning(prefix, "leader")
        self._client, self._prefix = checked(client), prefix
        self._errors = errors_of(client).all
        self._closed = threading.Event()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._pid = 0

    def elect(self, name: str, step: Callable[[int], float], *, lead: str = "") -> None:
        """Adds a job that one process of all does; `step` is given the token of its lead. Jobs that
        name the same `lead` share it: one process does them all, and asks for it once."""
        self.jobs[name] = Job(name, step, elected=True, lead=lead or name)

    def everywhere(self, name: str, step: Callable[[], float]) -> None:
        """Adds a job that each process does for itself, also once more when it ends."""
        self.jobs[name] = Job(name, lambda _: step(), elected=False)

    def start(self) -> None:
        """Begins, once in each process; costs nothing when it has begun."""
        if self._pid == os.getpid():
            return
        with self._lock:
            if self._pid == os.getpid() or self._closed.is_set():
                return
            self._pid = os.getpid()
            name = f"{process_name()}:{secrets.token_hex(4)}"
            mine = [job for job in self.jobs.values() if self.elects or not job.elected]
            for lead in {job.lead for job in mine if job.elected}:
                leader = Leader(
                    self._client, lead, name, ttl_seconds=self.ttl_seconds, prefix=self._prefix
                )
                along = [job for job in mine if job.lead == lead]
                for job in along:
                    job.leader, job.along = leader, along
            self._threads = [
                threading.Thread(target=self._run, args=(job,), name=job.name, daemon=True)
                for job in mine
            ]
            if any(job.elected for job in mine):
                self._threads.append(
                    threading.Thread(target=self._campaign, name="campaign", daemon=True)
                )
            atexit.register(self.close)
            for thread in self._threads:
                thread.start()

    def wake(self, name: str) -> None:
        """The job has something to do now, if it is this process that does it."""
        self.jobs[name].due.set()

    def leads(self, name: str) -> bool:
        """Whether this process does an elected job."""
        leader = self.jobs[name].leader
        return leader is not None and leader.token > 0

    def close(self) -> None:
        """Ends the threads, gives leads back, lets each job of every process finish, and returns."""
        self._closed.set()
        for job in self.jobs.values():
            job.due.set()
        if self._pid != os.getpid():
            return
        for thread in self._threads:
            thread.join()
        for job in self.jobs.values():
            with contextlib.suppress(*self._errors):
                if job.leader:
                    job.leader.resign()
                elif not job.elected:
                    job.step(0)
        self._threads, self._pid = [], 0
        atexit.unregister(self.close)

    def _campaign(self) -> None:
        asking = {job.lead: job for job in self.jobs.values() if job.leader}
        while not self._closed.is_set():
            waits = [self._ask(job, job.leader) for job in asking.values() if job.leader]
            self._closed.wait(min(waits))

    def _ask(self, job: Job, leader: Leader) -> float:
        had = leader.token
        try:
            wait = leader.campaign()
        except self._errors:
            return AGAIN_SECONDS
        if token := leader.token:
            for each in job.along or (job,):
                if token != had:
                    log.info("%s: done by this process from now on", each.name)
                if token != had or each.asleep:
                    each.due.set()
        return wait

    def _run(self, job: Job) -> None:
        while not self._closed.is_set():
            # Before the look at the lead: one that ran out here, and is renewed just after the look,
            # finds it so.
            job.asleep = job.elected
            token = job.leader.token if job.leader else 0
            job.asleep = job.elected and not token
            job.due.wait(None if job.asleep else self._step(job, token))
            job.due.clear()

    def _step(self, job: Job, token: int) -> float:
        """One step. A failure ends no thread; it is logged when it is another than the last."""
        try:
            wait, trouble = job.step(token), ""
        except Exception as error:
            wait, trouble = AGAIN_SECONDS, type(error).__name__
        if trouble and trouble != job.trouble:
            log.warning("%s: %s", job.name, trouble)
        job.trouble = trouble
        return wait
