"""Is an int8 artifact really int8? What a runtime executes, counted."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Literal

from xedge.runtimes import Execution, Operation, Session

# Shares of the arithmetic; the last dense layer is meant to stay in float.
MOSTLY, HARDLY = 0.9, 0.1
Finding = Literal["integer", "partly integer", "float", "the runtime does not tell"]


@dataclass(frozen=True, kw_only=True)
class Audit:
    """How many operations compute in what.

    Args:
        execution: the runtime, its options, and what a delegate took.
        integer, floating, conversions: operations of each role.
        integer_products, float_products: convolutions and matrix products among them.
        integer_share: of the multiply-accumulates, or of the products where the runtime tells no shapes; None without
            products.
        kinds: number of operations by the runtime's name and precision.
        finding: what the artifact is, by its products.
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
    # A runtime tells the shapes of all or of none; depthwise convolutions are many, and little of the arithmetic.
    sizes = [operation.multiply_accumulates or 1 for operation in products]
    integer = sum(size for size, operation in zip(sizes, products, strict=True) if operation.role == "integer")
    return integer / sum(sizes)


def _finding(share: float | None) -> Finding:
    if share is None:
        return "the runtime does not tell"
    return "integer" if share >= MOSTLY else "float" if share <= HARDLY else "partly integer"
