"""The conversation about one request, with a process of ssh in between.

The host sends nothing until Python there says that it is ready, so that a login shell that reads standard input cannot
swallow anything. Then the host sends the agent with its request, what belongs to the request, and a byte every few
seconds. The agent sends a sign of life every few seconds, and at last its answer. Either side ends if it hears nothing
of the other one for a while.
"""

from __future__ import annotations

import math
import os
import queue
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import IO

from xedge.errors import UsageError
from xedge.remote.frames import Answer, FrameError, Sign, frames

HEARTBEAT_S = 10.0
# How long ssh may take to end by itself after the answer; what a login shell left in the background may keep it.
GRACE_S = 3.0
# The end of what ssh and the other machine say on standard error is kept, because it tells what went wrong.
KEPT_BYTES = 8192
SILENT = "make ~/.bashrc there silent for shells that are not interactive"
INTERRUPTED = "interrupted from here"
Feed = Callable[[IO[bytes]], None]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How long to wait for another machine, and how much to take from it.

    Args:
        start_s: The time until Python has started there, in seconds. It includes what the user types for ssh, and is as
            long as the OpenSSH server's own limit for that.
        silence_s: The time between two signs of life, in seconds.
        noise_bytes: The number of bytes that a login shell may print.
        answer_bytes: The greatest length of an answer. The largest ones are reports with the samples of long timings.
    """

    start_s: float = 120
    silence_s: float = 60
    noise_bytes: int = 1_000_000
    answer_bytes: int = 64_000_000

    @classmethod
    def from_environment(cls) -> Limits:
        """Return the limits, with the times from the environment variable ``XEDGE_SSH_TIMEOUT`` if it is set.

        Raises:
            UsageError: The variable is not a number of seconds.
        """
        text = os.environ.get("XEDGE_SSH_TIMEOUT")
        if not text:
            return cls()
        try:
            seconds = float(text)
        except ValueError:
            seconds = math.nan
        if not 0 < seconds <= threading.TIMEOUT_MAX:
            raise UsageError(f"XEDGE_SSH_TIMEOUT={text!r} is not a number of seconds")
        return cls(start_s=seconds, silence_s=seconds)


class LostError(Exception):
    """There is no answer.

    Args:
        what: What happened, as one line with advice; None if ssh ended, which its own words explain better.
        started: Whether Python had started on the other machine.
        code: The exit code of ssh; None if it was ended from here.
        said: The last line that ssh or the other machine printed to standard error; empty if there is none.
    """

    def __init__(self, what: str | None, *, started: bool, code: int | None, said: str) -> None:
        super().__init__(what)
        self.what, self.started, self.code, self.said = what, started, code, said


class Conversation:
    """The process of ssh, with threads that send to it and listen to it, so that waiting for either has its limits.

    Args:
        command: The command with which ssh is started.
        marker: The marker of the request.
        limits: How long to wait, and how much to take.
    """

    def __init__(self, command: Sequence[str], marker: str, limits: Limits) -> None:
        self._limits, self._marker = limits, marker
        # What the threads noticed: a frame, an exception of theirs, or None when nothing more can come.
        self._heard: queue.SimpleQueue[Sign | Answer | Exception | None] = queue.SimpleQueue()
        self._said = b""
        self._started = self._answered = False
        self._stop = threading.Event()
        self._child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self._threads = [self._thread(self._listen), self._thread(self._keep_last_words)]

    def __enter__(self) -> Conversation:
        return self

    def start(self) -> None:
        """Wait until Python there says that it is ready.

        Raises:
            LostError: It did not start in time, or there is too much noise.
        """
        heard = self._next(
            self._limits.start_s,
            f"there is no sign of Python there after {self._limits.start_s:g} s; if the login shell there reads, waits "
            f"or sleeps, {SILENT}; if it is only slow, set XEDGE_SSH_TIMEOUT to more seconds",
        )
        if heard is not Sign.READY:
            raise self._lost("what comes back is not from xedge's agent; try again")
        self._started = True

    def send(self, program: bytes, feed: Feed) -> None:
        """Begin to send the program, then what belongs to the request, and then a byte every few seconds."""

        def sending() -> None:
            pipe = self._child.stdin
            assert pipe is not None
            try:
                pipe.write(program)
                feed(pipe)
                pipe.flush()
                while not self._stop.wait(HEARTBEAT_S):
                    pipe.write(b".")
                    pipe.flush()
            except BrokenPipeError:
                pass  # The end of what comes back tells why.
            except Exception as error:  # It is raised in the thread that waits for the answer.
                self._heard.put(error)

        self._threads.append(self._thread(sending))

    def answer(self) -> bytes:
        """Wait for the answer and return its bytes.

        Raises:
            LostError: The connection was lost, or the answer is too large or damaged.
        """
        silent = f"nothing was heard for {self._limits.silence_s:g} s; the connection was lost, or the machine hangs"
        while True:
            heard = self._next(self._limits.silence_s, silent)
            if isinstance(heard, Answer):
                self._answered = True
                return heard.data

    def interrupt(self) -> None:
        """Let the thread that waits here, or that will wait, give up; another thread calls this."""
        self._heard.put(self._lost(INTERRUPTED))

    def _next(self, limit_s: float, too_late: str) -> Sign | Answer:
        try:
            heard = self._heard.get(timeout=limit_s)
        except queue.Empty:
            raise self._lost(too_late) from None
        if heard is None:
            raise self._ended()
        if isinstance(heard, FrameError):
            raise self._lost(f"{heard}; {SILENT}") from heard
        if isinstance(heard, Exception):
            raise heard
        return heard

    def _lost(self, what: str) -> LostError:
        return LostError(what, started=self._started, code=None, said="")

    def _ended(self) -> LostError:
        """Return the error for an end of the stream without an answer."""
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(GRACE_S)
        self._threads[1].join(GRACE_S)
        lines = [line for line in self._said.decode(errors="replace").splitlines() if line.strip()]
        code = self._child.poll()
        what = None if code is not None else "the connection was closed from there without an answer"
        return LostError(what, started=self._started, code=code, said=lines[-1].strip()[:500] if lines else "")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End ssh, which ends what runs on the other machine, and the threads."""
        self._stop.set()
        try:
            if self._answered:
                # The agent ends by itself after its answer.
                with suppress(subprocess.TimeoutExpired):
                    self._child.wait(GRACE_S)
        finally:
            self._end()

    def _end(self) -> None:
        # The first signal lets ssh restore a terminal on which it asks for a password.
        self._child.terminate()
        try:
            self._child.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        for thread in self._threads:
            thread.join(GRACE_S)
        # What the user's configuration keeps in the background, such as a shared connection, may still hold a stream. A
        # thread that listens to it must not find another file under the same number.
        if not any(thread.is_alive() for thread in self._threads):
            for stream in (self._child.stdin, self._child.stdout, self._child.stderr):
                assert stream is not None
                with suppress(OSError):
                    stream.close()

    def _thread(self, work: Callable[[], None]) -> threading.Thread:
        thread = threading.Thread(target=work, name=f"ssh {work.__name__}", daemon=True)
        thread.start()
        return thread

    def _listen(self) -> None:
        assert self._child.stdout is not None
        number, limits = self._child.stdout.fileno(), self._limits
        try:
            for frame in frames(
                lambda: os.read(number, 1 << 16),
                self._marker,
                most_noise=limits.noise_bytes,
                largest_answer=limits.answer_bytes,
            ):
                self._heard.put(frame)
            self._heard.put(None)
        except Exception as error:  # It is raised in the thread that waits.
            self._heard.put(error)

    def _keep_last_words(self) -> None:
        assert self._child.stderr is not None
        number = self._child.stderr.fileno()
        with suppress(OSError):
            while block := os.read(number, 1 << 16):
                self._said = (self._said + block)[-KEPT_BYTES:]


class Switchboard:
    """The conversations of several threads, which can all be ended at once by another thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: set[Conversation] = set()
        self._ended = False

    @contextmanager
    def holding(self, conversation: Conversation) -> Iterator[None]:
        """Hold a conversation while the block runs; after the end, it is ended at once."""
        with self._lock:
            self._open.add(conversation)
            if self._ended:
                conversation.interrupt()
        try:
            yield
        finally:
            with self._lock:
                self._open.discard(conversation)

    def end(self) -> None:
        """End all conversations, and those that begin later."""
        with self._lock:
            self._ended = True
            for conversation in self._open:
                conversation.interrupt()
