"""The cluster that does the work: processes on this machine, or one that runs already; all of it is Dask's."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
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
from xedge.evaluating.work import BundleFiles, Delivery, Evaluated, evaluated

# So many chunks wait for each thread of a worker, so that none is idle while results travel.
AHEAD = 3
CONNECT_S = 20
_NOT_COMPARED = ("processor", "photos")


@contextmanager
def local(workers: int) -> Iterator[Client]:
    """Yield a cluster of processes on this machine, each with one thread; killed ones are started again.

    Args:
        workers: The number of processes.

    Raises:
        ResourceError: They cannot be started.
    """
    with _quiet():
        try:
            cluster = LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                memory_limit=0,  # a runtime's memory is flat; a limit would pause and kill workers for the page cache
                dashboard_address=None,
                silence_logs=logging.CRITICAL,
            )
        except (OSError, RuntimeError, TimeoutError) as error:
            raise ResourceError(f"{workers} workers cannot be started ({brief(error)}); ask for fewer") from error
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
    log = logging.getLogger("distributed")
    before = log.level
    if not logging.getLogger().isEnabledFor(logging.DEBUG):
        log.setLevel(logging.CRITICAL + 1)
    try:
        with dask.config.set({"logging.distributed": "critical"}):
            yield
    finally:
        log.setLevel(before)


def check_workers(client: Client, packages: tuple[str, ...], place: str | None) -> tuple[dict[str, str], Counter[str]]:
    """Ask every worker what it has, and refuse those that do not have what results depend on.

    Args:
        client: The cluster.
        packages: The packages whose versions must be those of this process, or at least the same on all workers if this
            process does not have them.
        place: A path that each worker has to be able to read; None asks for none.

    Returns:
        The versions, and the number of workers with each kind of processor.

    Raises:
        MissingRuntimeError: A worker lacks something, or has another version; the message names both.
        ConnectionLostError: There are no workers.
    """
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
    first: Mapping[str, str] = next(iter(answers.values()))
    environment = {name: value for name, value in first.items() if name not in _NOT_COMPARED}
    return environment, Counter(answer["processor"] for answer in answers.values())


def check_answers(answers: Mapping[str, Mapping[str, str]], wanted: Mapping[str, str]) -> None:
    """Refuse workers that lack something or have another version; errors are those of ``check_workers``.

    Args:
        answers: What each worker has, by its address.
        wanted: What this process has; of what it does not have, the workers must have the same.
    """
    missing = "not installed"
    common = {
        name: value if value != missing else Counter(answer[name] for answer in answers.values()).most_common(1)[0][0]
        for name, value in wanted.items()
        if name not in _NOT_COMPARED
    }
    for worker, answer in answers.items():
        if answer.get("photos") == "not readable":
            raise MissingRuntimeError(
                f"worker {worker}: cannot read the photos; put them where every worker sees them under the same path, "
                "or give an address such as s3://bucket/photos"
            )
        for name, value in common.items():
            if answer[name] == missing:
                raise MissingRuntimeError(f"worker {worker}: lacks {name}; install it there: {_command(name, value)}")
            if answer[name] != value:
                raise MissingRuntimeError(
                    f"worker {worker}: has {name} {answer[name]} instead of {value}; {_command(name, value)}"
                )


def _command(name: str, version: str) -> str:
    if name in ("python", "machine"):
        return f"take workers with {name} {version}"
    return f"pip install '{name}=={version}'" if version != "not installed" else f"pip install {name}"


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
    client: Client, tasks: Iterator[tuple[Chunk, tuple[Delivery, ...]]], reference: Delivery
) -> Iterator[tuple[Chunk, Evaluated]]:
    """Yield chunks as workers finish them, in any order. Only a few chunks are on their way at a time.

    Args:
        client: The cluster, whose workers have the bundles.
        tasks: The chunks, and of each the bundles whose rows are asked for.
        reference: The bundle with which the others are compared.

    Raises:
        XedgeError: What a worker raised.
        ResourceError: A chunk's worker died several times.
        ConnectionLostError: The scheduler is gone.
    """
    threads = max(1, sum(client.nthreads().values()))
    waiting: dict[Any, Chunk] = {}

    def submit(task: tuple[Chunk, tuple[Delivery, ...]]) -> Any:
        chunk, wanted = task
        future = client.submit(evaluated, chunk, wanted, reference, pure=False)
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
    except (CommClosedError, OSError, TimeoutError) as error:
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
