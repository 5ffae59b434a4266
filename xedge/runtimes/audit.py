"""Count what a runtime really executes, to tell whether an int8 artifact is int8."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Literal

from xedge.runtimes import Execution, Operation, Session

# Shares of the arithmetic from which an artifact counts as integer, and up to which it counts as float. The last dense
# layer is meant to stay in float.
MOSTLY, HARDLY = 0.9, 0.1
Finding = Literal["integer", "partly integer", "float", "the runtime does not tell"]


@dataclass(frozen=True, kw_only=True)
class Audit:
    """How many operations compute in integers and in float.

    Args:
        execution: The runtime, its options, and what a delegate took.
        integer: The number of operations that compute in integers.
        floating: The number of operations that compute in float.
        conversions: The number of operations that only convert between integers and float.
        integer_products: The number of convolutions and matrix products with weights in integers.
        float_products: The number of convolutions and matrix products with weights in float.
        integer_share: The share of the multiply-accumulates that are computed in integers, 0 to 1. Where the runtime
            does not tell shapes, it is the share of the products. None if there are no products.
        kinds: The number of operations by the runtime's name for them and their precision.
        finding: What the artifact is, by its products.
    """

    execution: Execution
    integer: int
    floating: int
    conversions: int
    integer_products: int
    float_products: int
    integer_share: float | None
    kinds: dict[str, int]
    finding: Finding


def audit(session: Session) -> Audit:
    """Count what a session's runtime executes."""
    operations = session.operations()
    roles = Counter(operation.role for operation in operations)
    products = Counter(operation.role for operation in operations if operation.product)
    kinds = Counter(f"{operation.kind} {operation.precision}" for operation in operations)
    share = _integer_share(operations)
    return Audit(
        execution=session.execution(),
        integer=roles["integer"],
        floating=roles["float"],
        conversions=roles["conversion"],
        integer_products=products["integer"],
        float_products=products["float"],
        integer_share=share,
        kinds=dict(kinds.most_common()),
        finding=_finding(share),
    )


def _integer_share(operations: list[Operation]) -> float | None:
    products = [operation for operation in operations if operation.product]
    if not products:
        return None
    # Depthwise convolutions are many, but they are little of the arithmetic, where the runtime tells shapes.
    told = all(operation.multiply_accumulates for operation in products)
    sizes = [operation.multiply_accumulates or 1 if told else 1 for operation in products]
    integer = sum(size for size, operation in zip(sizes, products, strict=True) if operation.role == "integer")
    return integer / sum(sizes)


def _finding(share: float | None) -> Finding:
    if share is None:
        return "the runtime does not tell"
    return "integer" if share >= MOSTLY else "float" if share <= HARDLY else "partly integer"
