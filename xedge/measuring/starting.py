"""What a run may choose, and how a bundle is started: import the runtime, load the artifact, classify one photo."""

from __future__ import annotations

from dataclasses import dataclass, field

from xedge.bundle.reading import Bundle
from xedge.device.board import usable_cores
from xedge.device.cooldown import Cooldown
from xedge.device.process import age_ms
from xedge.errors import UsageError, parameter
from xedge.measuring.latency import Clock, Schedule
from xedge.runtimes import Settings, choose_runtime
from xedge.runtimes.classifier import Classifier, open_bundle_classifier
from xedge.types import FloatArray, UInt8Array

MOST_DEFAULT_THREADS = 4
MOST_THREADS = 1024


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What the user can choose for a run.

    Args:
        threads: The number of threads for one inference; None takes the number of usable cores, but at most four.
        runtime: The name of the runtime; None takes the first one that is installed and opens the artifact.
        provider: The processor or backend of the runtime; None takes its CPU.
        schedule: The duration of the warm-up and of the measurement, and the frame rate.
        cooldown: The temperature for which the run waits before it begins; None does not wait.
        streams: The number of photos at once in the multistream and offline scenarios; None leaves these out.
        profile: Whether each operation is timed too.
        cold_starts: The number of fresh processes whose start is timed; None starts none.
    """

    threads: int | None = None
    runtime: str | None = None
    provider: str | None = None
    schedule: Schedule = field(default_factory=Schedule)
    cooldown: Cooldown | None = None
    streams: int | None = None
    cold_starts: int | None = None
    profile: bool = False

    def thread_count(self) -> int:
        """Return the number of threads to use.

        Raises:
            UsageError: So many threads could not even be started.
        """
        if self.threads is not None and self.threads > MOST_THREADS:
            raise UsageError(f"{parameter('threads')} {self.threads}: give at most {MOST_THREADS}")
        return self.threads or min(usable_cores(), MOST_DEFAULT_THREADS)

    def settings(self, bundle: Bundle) -> Settings:
        """Return the settings with which a bundle's artifact is run; an fp32 artifact computes in float32."""
        precision = bundle.manifest.precision
        return Settings(
            threads=self.thread_count(),
            provider=self.provider,
            exact=precision == "fp32",
            integers=precision == "int8",
            engines=bundle.engines,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Started:
    """A classifier that has given its first result, and the time of each step up to that result.

    Args:
        classifier: The classifier.
        first: The probabilities (classes,) of the first photo.
        import_ms: The time to import the runtime's package in milliseconds.
        load_ms: The time to read and prepare the artifact in milliseconds.
        first_ms: The latency of the first inference in milliseconds.
        start_to_first_result_ms: The time from the start of the process to this result in milliseconds.
    """

    classifier: Classifier
    first: FloatArray
    import_ms: float
    load_ms: float
    first_ms: float
    start_to_first_result_ms: float


def start(
    bundle: Bundle, pixels: UInt8Array, options: RunOptions, clock: Clock, *, elsewhere_s: float = 0.0
) -> Started:
    """Import the runtime, load the artifact and classify one photo; each step is timed separately.

    Args:
        bundle: The bundle.
        pixels: The pixels (H, W, C) of a photo.
        options: The threads, the runtime and the provider.
        clock: A function that returns the time in nanoseconds.
        elsewhere_s: The seconds that this process spent on trying other bundles.
    """
    begin = clock()
    choose_runtime(bundle.artifact, options.runtime).load()
    imported = clock()
    classifier, tried_s = open_bundle_classifier(bundle, options.settings(bundle), options.runtime)
    loaded = clock()
    first = classifier.classify(pixels)
    return Started(
        classifier=classifier,
        first=first,
        import_ms=(imported - begin) / 1e6,
        load_ms=(loaded - imported) / 1e6 - 1000 * tried_s,
        first_ms=(clock() - loaded) / 1e6,
        start_to_first_result_ms=age_ms() - 1000 * (tried_s + elsewhere_s),
    )
