"""The causes of a slow inference: each is a function that looks for one kind in the evidence."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from xedge.explaining.evidence import Evidence
from xedge.measuring.profile import OperationTime

# What takes a smaller share of the time than this is not worth a line; in a bundle that xedge made, some conversions
# and changes of layout are meant.
WORTH_TELLING, MEANT = 0.03, 0.1
# A share of the latency that no operation explains, and one that preparing the photo takes; less time than this is
# nothing to save.
OVERHEAD, PREPARATION, LEAST_MS = 0.35, 0.25, 0.1
MOVING = ("Transpose", "TRANSPOSE", "Reorder", "Permute")
# Operators that XNNPACK takes in some form, so that one that it left has something in particular.
# fmt: off
TAKEN_BY_XNNPACK = frozenset(
    {
        "ABS", "ADD", "AVERAGE_POOL_2D", "BATCH_MATMUL", "CEIL", "CONCATENATION", "CONV_2D", "COS",
        "DEPTHWISE_CONV_2D", "DEQUANTIZE", "DIV", "ELU", "EXP", "FLOOR", "FULLY_CONNECTED", "GELU", "HARD_SWISH",
        "LEAKY_RELU", "LOGISTIC", "MAX_POOL_2D", "MAXIMUM", "MEAN", "MINIMUM", "MUL", "NEG", "PAD", "PRELU",
        "QUANTIZE", "RELU", "RELU6", "RELU_N1_TO_1", "RESHAPE", "RESIZE_BILINEAR", "ROUND", "RSQRT", "SIN", "SLICE",
        "SOFTMAX", "SPACE_TO_DEPTH", "SPLIT", "SQRT", "SQUARE", "SQUARED_DIFFERENCE", "STRIDED_SLICE", "SUB", "SUM",
        "TANH", "TRANSPOSE", "TRANSPOSE_CONV",
    }
)
# fmt: on
IN_FLOAT_ONLY = ("RELU", "RELU6", "RELU_N1_TO_1", "SOFTMAX", "HARD_SWISH", "SQRT", "RSQRT", "DIV", "GELU", "EXP")

Kind = Literal[
    "not quantized",
    "outside the delegate",
    "computed in float",
    "conversions",
    "moving values",
    "weights with one scale",
    "idle cores",
    "too many threads",
    "other runtime",
    "no dot product",
    "ranges of each photo",
    "slow precision",
    "half precision unused",
    "overhead",
    "preparing the photo",
    "machine",
]
# What no change of the bundle could mend.
OF_MACHINE: tuple[Kind, ...] = ("no dot product", "machine")


@dataclass(frozen=True, kw_only=True)
class Cause:
    """One cause of a slow inference.

    Args:
        kind: The kind of cause.
        words: What is the case.
        layers: The names of the operations that it is about, the slowest first; empty if it is about all of them.
        ms: The time of an inference that they take, in milliseconds; None if no time is known.
        share: Their share of all operations' time, 0 to 1; None if no time is known.
        reason: Why it is so.
        cure: What to do.
        worth_ms: What the cure takes off the latency, in milliseconds; None if it could not be tried here.
        tried: What was tried to find that out; None if nothing was.
    """

    kind: Kind
    words: str
    layers: tuple[str, ...] = ()
    ms: float | None = None
    share: float | None = None
    reason: str
    cure: str
    worth_ms: float | None = None
    tried: str | None = None


Search = Callable[[Evidence], Iterator[Cause]]


def _about(operations: Sequence[OperationTime], kind: Kind, words: str, reason: str, cure: str) -> Cause:
    """Return a cause that is about some operations."""
    slowest = sorted(operations, key=lambda one: -one.ms)
    return Cause(
        kind=kind,
        words=words,
        layers=tuple(one.name for one in slowest),
        ms=sum(one.ms for one in operations),
        share=sum(one.share for one in operations),
        reason=reason,
        cure=cure,
    )


def _counted(operations: Sequence[OperationTime], noun: str = "operation") -> str:
    return f"{len(operations)} {noun}{'' if len(operations) == 1 else 's'}"


def not_quantized(evidence: Evidence) -> Iterator[Cause]:
    """The artifact is not meant to multiply integers, or its runtime does not."""
    manifest, audit = evidence.manifest, evidence.audit
    if not evidence.quantized:
        yield Cause(
            kind="not quantized",
            words=f"the artifact is {manifest.precision}: its products are float",
            reason="nothing in it was quantized to integers",
            cure="convert it with --precision int8",
        )
        return
    if audit.finding == "float":
        yield Cause(
            kind="computed in float",
            words=f"{evidence.execution.runtime} computes this {manifest.precision} artifact in float",
            reason="the runtime has no integer kernels for it on this processor, and unpacks the integers",
            cure="convert it for another target: tflite computes int8 on every Arm processor",
        )


def outside_the_delegate(evidence: Evidence) -> Iterator[Cause]:
    """Operations that an accelerator, or LiteRT's XNNPACK, did not take."""
    execution = evidence.execution
    left = evidence.such(lambda one: one.delegated is False)
    taker = execution.delegate or "the accelerator"
    by_reason: dict[tuple[str, str], list[OperationTime]] = defaultdict(list)
    for one in left:
        by_reason[_refusal(one, taker)].append(one)
    for (reason, cure), same in by_reason.items():
        if sum(one.share for one in same) >= WORTH_TELLING:
            alone = [one for one in same if one.threads < execution.threads]
            words = f"{taker} does not take {_counted(same)} ({_kinds(same)})"
            words += f", {len(alone)} of which run on one thread" if alone else ""
            yield _about(same, "outside the delegate", words, reason, cure)
    if not evidence.operations and execution.operators and execution.delegated is not None:
        count = execution.operators - execution.delegated
        if count > 0:
            yield Cause(
                kind="outside the delegate",
                words=f"{taker} takes {execution.delegated} of {execution.operators} operators",
                reason=f"{execution.runtime} {execution.version} has no fast kernels for the other {count}",
                cure="take ai-edge-litert for a .tflite file, or convert it again with xedge",
            )


def _kinds(operations: Sequence[OperationTime]) -> str:
    return ", ".join(dict.fromkeys(f"{one.kind} {one.precision}" for one in operations))


def _refusal(one: OperationTime, taker: str) -> tuple[str, str]:
    """Return why a delegate leaves an operation, and the cure."""
    again = "convert the model again with xedge"
    if taker != "XNNPACK":
        return f"{taker} has no kernel for it, so that values travel to the CPU and back", "leave it out of the model"
    if one.kind not in TAKEN_BY_XNNPACK:
        return f"XNNPACK has no {one.kind} at all", "replace it in the model, or take another target"
    if one.role == "integer" and one.kind in IN_FLOAT_ONLY:
        return (
            f"XNNPACK has {one.kind} in float only; in integers it takes it as part of the operation before it",
            f"{again}, which writes it in a form that XNNPACK takes",
        )
    if one.product and "ranges of each photo" in one.precision and one.kind == "DEPTHWISE_CONV_2D":
        return (
            "XNNPACK has no depthwise convolution with ranges of each photo",
            f"{again}, which leaves these weights in float, or take --precision int8",
        )
    if one.rank is not None and one.rank > 4:
        return f"it works on tensors of {one.rank} dimensions, and XNNPACK's kernels here take four", (
            "reshape the tensors in the model, so that they have a batch, height, width and channels"
        )
    return (
        f"XNNPACK takes {one.kind} in general; the stride, dilation, padding or type of this one is outside",
        f"change it in the model to a usual form, or {again}",
    )


def weights_with_one_scale(evidence: Evidence) -> Iterator[Cause]:
    """Integer weights that have one scale for all channels of a layer."""
    found = evidence.such(lambda one: one.weights == "per tensor")
    if found:
        yield _about(
            found,
            "weights with one scale",
            f"the weights of {_counted(found, 'product')} have one scale for all channels",
            reason="they were quantized per tensor; this costs accuracy, and some delegates do not take such products",
            cure="convert the model again with xedge, which gives weights a scale for each channel",
        )


def computed_in_float(evidence: Evidence) -> Iterator[Cause]:
    """Products in float, and islands of float between integers, in an artifact that is meant to multiply integers."""
    if not evidence.quantized or evidence.audit.finding == "float":
        return
    delegated = [one for one in evidence.operations if one.delegated is not False]
    products = [one for one in delegated if one.product and one.role == "float"]
    depthwise = [one for one in products if evidence.manifest.precision == "dynamic" and one.is_depthwise]
    if sum(one.share for one in depthwise) >= WORTH_TELLING:
        yield _about(
            depthwise,
            "computed in float",
            f"{_counted(depthwise, 'depthwise convolution')} in float",
            reason="dynamic range quantizes weights only, and there are no fast kernels for depthwise ones",
            cure="convert it with --precision int8",
        )
    others = [one for one in products if one not in depthwise and not _meant(evidence, one)]
    if sum(one.share for one in others) >= WORTH_TELLING:
        yield _about(
            others,
            "computed in float",
            f"{_counted(others, 'product')} in float",
            reason="they were left out of the quantization",
            cure="convert it again with xedge without layers in float; xedge analyze says which of them lose accuracy",
        )
    island = [one for one in _islands(delegated) if not _meant(evidence, one)]
    if sum(one.share for one in island) >= WORTH_TELLING:
        yield _about(
            island,
            "computed in float",
            f"{_counted(island)} in float between integers ({_kinds(island)})",
            reason="there are no integer kernels for them, so that values are converted before and behind",
            cure="replace them in the model by operations with integer kernels, such as ReLU for other activations",
        )


def _meant(evidence: Evidence, one: OperationTime) -> bool:
    """Whether xedge left a product in float on purpose: the tail, or depthwise between ranges of each photo."""
    manifest = evidence.manifest
    if manifest.wrapped:
        return False
    dynamic = manifest.recipe.ranges == "photo" or manifest.precision == "dynamic"
    return one.name.startswith(manifest.recipe.float_nodes) or (dynamic and one.is_depthwise)


def _islands(operations: Sequence[OperationTime]) -> list[OperationTime]:
    """Return what computes in float right between two conversions."""
    island: list[OperationTime] = []
    found: list[OperationTime] = []
    inside = False
    for one in operations:
        if one.role == "conversion":
            if inside:
                found += island
            island, inside = [], True
        elif one.role == "float" and not one.product and inside:
            island.append(one)
        else:
            island, inside = [], False
    return found


def _worth_telling(evidence: Evidence) -> float:
    """Return the share of the time from which conversions are worth a line."""
    return WORTH_TELLING if evidence.manifest.wrapped else MEANT


def conversions(evidence: Evidence) -> Iterator[Cause]:
    """Operations that only convert between integers and float."""
    found = evidence.such(lambda one: one.role == "conversion" and not one.kind.startswith(MOVING))
    if sum(one.share for one in found) < _worth_telling(evidence):
        return
    ends = {evidence.operations[0].name, evidence.operations[-1].name}
    at_ends = [one for one in found if one.name in ends]
    only_ends = sum(one.share for one in at_ends) > sum(one.share for one in found) / 2
    yield _about(
        found,
        "conversions",
        f"{_counted(found)} that only convert between integers and float",
        reason="the photo arrives in float" if only_ends else "integers and float alternate in the network",
        cure="convert it with --io int8 (tflite) or --io uint8, so that the photo arrives in integers"
        if only_ends
        else "convert it with --ranges fixed for tflite; in others' files, quantize the operations between them too",
    )


def moving_values(evidence: Evidence) -> Iterator[Cause]:
    """Operations that only change the layout of tensors."""
    found = evidence.such(lambda one: one.kind.startswith(MOVING))
    if sum(one.share for one in found) >= 2 * _worth_telling(evidence):
        yield _about(
            found,
            "moving values",
            f"{_counted(found)} that only change the order of a tensor's values",
            reason="the model has transpositions, or its layout is not the one of the runtime's kernels",
            cure="convert the original model with xedge, which writes each target's own layout",
        )


def threads(evidence: Evidence) -> Iterator[Cause]:
    """Fewer threads than cores, or more."""
    used, cores = evidence.execution.threads, evidence.board.cores
    if used < min(cores, 4):
        yield Cause(
            kind="idle cores",
            words=f"{used} of {cores} cores compute",
            reason="so many threads were asked for",
            cure=f"run it with --threads {min(cores, 4)}",
        )
    elif used > cores:
        yield Cause(
            kind="too many threads",
            words=f"{used} threads share {cores} cores",
            reason="threads that wait for a core make the others wait for them",
            cure=f"run it with --threads {cores}",
        )


def dot_products(evidence: Evidence) -> Iterator[Cause]:
    """A processor without instructions for products of 8-bit integers."""
    if evidence.dot_product is False and evidence.audit.integer_products:
        arm = evidence.board.machine.startswith(("aarch64", "arm"))
        yield Cause(
            kind="no dot product",
            words="this processor has no instructions for products of 8-bit integers",
            reason="it is older than Cortex-A75 or A55" if arm else "it has neither AVX-VNNI nor AVX512-VNNI",
            cure="int8 gains less here than elsewhere: compare with fp32 (--against), and take a smaller photo"
            + (" or --ranges fixed, which moves less memory" if arm else ""),
        )


def ranges_of_each_photo(evidence: Evidence) -> Iterator[Cause]:
    """A residual stream in float on a board with slow memory."""
    arm = evidence.board.machine.startswith(("aarch64", "arm"))
    if arm and evidence.manifest.recipe.ranges == "photo":
        yield Cause(
            kind="ranges of each photo",
            words="residual sums are in float, which moves several times the memory",
            reason="the ranges of activations come from each photo",
            cure="convert it with --ranges fixed, or --for and the board's name, and compare both with --against",
        )


def slow_precision(evidence: Evidence) -> Iterator[Cause]:
    """A precision that is known to be slower than fp32 on this processor."""
    found = evidence.unpaid
    if found is not None:
        yield Cause(kind="slow precision", words=found.words, reason=found.reason, cure=found.cure)


def half_precision(evidence: Evidence) -> Iterator[Cause]:
    """A file in half precision whose arithmetic is not used although the processor has it."""
    manifest, execution = evidence.manifest, evidence.execution
    if manifest.precision != "fp16" or manifest.target not in HALF_CURES or execution.provider != "cpu":
        return
    # What others' ONNX files hold is not known.
    unknown = manifest.wrapped and manifest.target == "onnx"
    if evidence.half_arithmetic and execution.options.get("arithmetic") != "float16" and not unknown:
        reason, cure = HALF_CURES[manifest.target]
        yield Cause(
            kind="half precision unused",
            words="this processor computes in half precision, but the file does not let it",
            reason=reason,
            cure=cure,
        )


# Why a target's file does not let a processor compute in half precision, and what to do.
HALF_CURES = {
    "tflite": (
        "the file lacks the mark reduced_precision_support",
        "convert the model again with xedge, which writes the mark where values fit into half precision",
    ),
    "onnx": (
        "its weights alone are in float16, or this version of ONNX Runtime has no kernels for float16",
        "convert it with --arithmetic float16, and compare both with --against; take a newer ONNX Runtime",
    ),
}


def overhead(evidence: Evidence) -> Iterator[Cause]:
    """Time of an inference that no operation takes, and time before it."""
    unexplained = evidence.p50_ms - evidence.timed_ms
    # The two times are of different inferences, which other processes may have slowed differently.
    disturbed = any(reason.startswith(("load", "stolen")) for reason in evidence.circumstances)
    if evidence.operations and not disturbed and unexplained > OVERHEAD * evidence.p50_ms:
        yield Cause(
            kind="overhead",
            words=f"{unexplained:.2f} ms of {evidence.p50_ms:.2f} ms are in no operation",
            ms=unexplained,
            reason="the network is so small that calling the runtime and waking its threads takes long beside it",
            cure="run it with --threads 1, or give several photos at once (--batch, --streams)",
        )
    if evidence.preprocess_ms > max(PREPARATION * evidence.p50_ms, LEAST_MS):
        yield Cause(
            kind="preparing the photo",
            words=f"scaling the pixels takes {evidence.preprocess_ms:.2f} ms beside {evidence.p50_ms:.2f} ms",
            ms=evidence.preprocess_ms,
            reason="the pixels are converted to the input's type outside the artifact",
            cure="convert it with --pixels, or with --io int8 or uint8",
        )


def machine(evidence: Evidence) -> Iterator[Cause]:
    """Circumstances of the machine that make any latency longer."""
    for reason in evidence.circumstances:
        kind, _, details = reason.partition(": ")
        if kind in MACHINE:
            yield Cause(kind="machine", words=reason, reason=details or reason, cure=MACHINE[kind])


# What to do against each kind of reason that a run's verdict gives.
MACHINE = {
    "load": "stop other programs, or run it on a board that has nothing else to do",
    "stolen": "run it on a machine of its own",
    "throttling": "cool the board or give it more power, and wait with --cooldown",
    "governor": "set the governor to performance; on a Jetson, fix the clocks with jetson_clocks",
    "emulated": "run it on the board itself; an emulator tells nothing about time",
    "swap": "free memory, or take a smaller artifact",
}
SEARCHES: tuple[Search, ...] = (
    not_quantized,
    outside_the_delegate,
    weights_with_one_scale,
    computed_in_float,
    conversions,
    moving_values,
    threads,
    dot_products,
    ranges_of_each_photo,
    slow_precision,
    half_precision,
    overhead,
    machine,
)


def causes_in(evidence: Evidence) -> list[Cause]:
    """Return all causes, those first whose operations take the most time."""
    found = [cause for search in SEARCHES for cause in search(evidence)]
    return sorted(found, key=lambda cause: -(cause.ms or 0.0))
