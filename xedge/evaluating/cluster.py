"""The cluster that does the work: processes on this machine, or one that runs already; all of it is Dask's."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Any

import cloudpickle
import dask
from distributed import Client, LocalCluster, as_completed
from distributed.client import FutureCancelledError
from distributed.comm.core import CommClosedError
from distributed.scheduler import KilledWorker

from xedge.errors import ConnectionLostError, MissingRuntimeError, ResourceError, UsageError, brief, parameter
from xedge.evaluating import probe
from xedge.evaluating.chunks import Chunk
from xedge.evaluating.versions import check_answers, compared
from xedge.evaluating.work import BundleFiles, Delivery, Evaluated, evaluated

# So many chunks wait for each thread of a worker, so that none is idle while results travel.
AHEAD = 3
CONNECT_S = 20
# In place of Dask's own, which have the C library give memory back at every chance: the pages of each photo that is
# decoded would be asked of the kernel again.
_SPAWNED = {
    "distributed.nanny.pre-spawn-environ": {"OMP_NUM_THREADS": 1, "MKL_NUM_THREADS": 1, "OPENBLAS_NUM_THREADS": 1},
    "distributed.worker.profile.enabled": False,
    # The scheduler remembers so many messages to each worker, which have the chunks of photos in them.
    "distributed.admin.low-level-log-length": 10,
}
# Whose logs would tell once more what is told already. Some of their loggers have levels of their own.
_LOUD = ("distributed", "tornado", "asyncio")


@contextmanager
def local(workers: int) -> Iterator[Client]:
    """Yield a cluster of processes on this machine, each with one thread; killed ones are started again.

    Args:
        workers: The number of processes.

    Raises:
        ResourceError: They cannot be started.
    """
    with _quiet(), dask.config.set(_SPAWNED):
        try:
            cluster = LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                memory_limit=0,  # a runtime's memory is flat; a limit would pause and kill workers for the page cache
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",  # the port that is usual may be taken
                preload=["xedge.evaluating.preload"],
                silence_logs=logging.CRITICAL,
            )
        except (OSError, RuntimeError, TimeoutError) as error:
            raise ResourceError(
                f"{workers} workers cannot be started ({brief(error)}); ask for fewer, and in a program of your own "
                "call it below `if __name__ == '__main__':`, because each worker reads the program again"
            ) from error
        with cluster, Client(cluster, set_as_default=False) as client:
            yield client


@contextmanager
def running(address: str) -> Iterator[Client]:
    """Yield a cluster that somebody started.

    Args:
        address: The address of its scheduler, such as ``tcp://head:8786``.

    Raises:
        ConnectionLostError: No scheduler answers there.
        UsageError: It is no address.
    """
    with _quiet():
        try:
            client = Client(address, timeout=CONNECT_S, set_as_default=False)
        except ValueError as error:
            raise UsageError(
                f"{parameter('scheduler')} {address}: {brief(error)}; give an address such as tcp://head:8786"
            ) from error
        except (OSError, TimeoutError) as error:
            raise ConnectionLostError(
                f"{parameter('scheduler')} {address}: no scheduler answers within {CONNECT_S} s; start one with "
                "`dask scheduler`, and workers with `dask worker`"
            ) from error
        with client:
            yield client


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Dask's log to itself unless logging was asked for: what matters is told in xedge's own words."""
    if logging.getLogger().isEnabledFor(logging.DEBUG):
        yield
        return
    logs = [logging.getLogger(name) for name in logging.root.manager.loggerDict if name.startswith(_LOUD)]
    before = [log.level for log in logs]
    for log in logs:
        log.setLevel(logging.CRITICAL + 1)
    try:
        with dask.config.set({"logging.distributed": "critical"}):
            yield
    finally:
        for log, level in zip(logs, before, strict=True):
            log.setLevel(level)


def check_workers(
    client: Client, packages: tuple[str, ...], place: str | None
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Ask every worker what it has, and refuse those that do not have what results depend on.

    Args:
        client: The cluster.
        packages: The packages whose versions must be those of this process, or at least the same on all workers if this
            process does not have them.
        place: A path that each worker has to be able to read; None asks for none.

    Returns:
        The versions, and the processors of the workers, each once.

    Raises:
        MissingRuntimeError: A worker lacks something, or has another version; the message names both.
        ConnectionLostError: There are no workers.
    """
    with suppress(TimeoutError):  # a cluster that has just been started may get its workers later
        _connected(client, lambda: client.wait_for_workers(1, timeout=CONNECT_S))
    cloudpickle.register_pickle_by_value(probe)
    try:
        answers = _connected(client, lambda: client.run(probe.probed, packages, place, on_error="return"))
    finally:
        cloudpickle.unregister_pickle_by_value(probe)
    if not answers:
        raise ConnectionLostError(f"{client.scheduler.address}: has no workers; start some with `dask worker`")
    failed = {worker: answer for worker, answer in answers.items() if isinstance(answer, BaseException)}
    for worker, answer in failed.items():
        raise MissingRuntimeError(f"worker {worker}: cannot say what it has ({brief(answer)}); start it again")
    wanted = probe.probed(packages, None)
    check_answers(answers, wanted)
    return compared(next(iter(answers.values()))), tuple(sorted({answer["processor"] for answer in answers.values()}))


def deliver(client: Client, files: Mapping[str, Mapping[str, bytes]]) -> None:
    """Send bundles to every worker once, and to workers that join later.

    Args:
        client: The cluster.
        files: The contents of each bundle by the names of its files, by the bundle's sha256.
    """
    for sha256, contents in files.items():
        _connected(
            client,
            lambda sha256=sha256, contents=contents: client.register_plugin(  # type: ignore[misc]
                BundleFiles(sha256, dict(contents))
            ),
        )


def evaluate_all(
    client: Client,
    tasks: Iterator[tuple[Chunk, tuple[Delivery, ...]]],
    reference: Delivery,
    environment: Mapping[str, str],
) -> Iterator[tuple[Chunk, Evaluated]]:
    """Yield chunks as workers finish them, in any order. Only a few chunks are on their way at a time.

    Args:
        client: The cluster, whose workers have the bundles.
        tasks: The chunks, and of each the bundles whose rows are asked for.
        reference: The bundle with which the others are compared.
        environment: The versions that every worker has to have, those that join later included.

    Raises:
        XedgeError: What a worker raised.
        ResourceError: A chunk's worker died several times.
        ConnectionLostError: The scheduler is gone.
    """
    threads = threads_of(client)
    waiting: dict[Any, Chunk] = {}
    versions = tuple(environment.items())

    def submit(task: tuple[Chunk, tuple[Delivery, ...]]) -> Any:
        chunk, wanted = task
        future = client.submit(evaluated, chunk, wanted, reference, versions, pure=False)
        waiting[future] = chunk
        return future

    finished = as_completed([submit(task) for task in islice(tasks, AHEAD * threads)], loop=client.loop)
    for future in finished:
        chunk = waiting.pop(future)
        done = _result(client, future, chunk)
        following = next(tasks, None)
        if following is not None:
            finished.add(_connected(client, lambda following=following: submit(following)))  # type: ignore[misc]
        yield chunk, done


def threads_of(client: Client) -> int:
    """Return the number of threads that the workers have together, at least 1."""
    threads: dict[str, int] = _connected(client, client.nthreads)
    return max(1, sum(threads.values()))


def _result(client: Client, future: Any, chunk: Chunk) -> Evaluated:
    try:
        done: Evaluated = future.result()
    except KilledWorker as error:
        raise ResourceError(
            f"{chunk.photos[0]} and the {len(chunk.photos) - 1} photos after it: the worker died each time it began "
            "them, most likely because there was too little memory; what is done is kept"
        ) from error
    except (FutureCancelledError, CommClosedError, OSError, TimeoutError) as error:
        raise _lost(client) from error
    return done


def _connected(client: Client, call: Callable[[], Any]) -> Any:
    """Return what a call to the scheduler gives.

    Raises:
        ConnectionLostError: The scheduler is gone.
    """
    try:
        return call()
    except TimeoutError:
        raise
    except (CommClosedError, OSError) as error:
        raise _lost(client) from error
    except RuntimeError as error:  # A client that has closed itself
        if client.status in ("closed", "closing", "connecting"):
            raise _lost(client) from error
        raise


def _lost(client: Client) -> ConnectionLostError:
    address = client.scheduler.address if client.scheduler is not None else "the scheduler"
    return ConnectionLostError(
        f"{address}: the connection to the scheduler was lost; what is done is kept, and the same command goes on"
    )
