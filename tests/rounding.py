"""Matmuls on a CPU, rounded as a GPU or a TPU rounds them by default."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import jax
from jax._src.interpreters import mlir
from jax._src.lax import lax
from jax._src.lib.mlir import ir  # pyright: ignore[reportPrivateImportUsage]
from jax._src.lib.mlir.dialects import hlo

TF32, BFLOAT16 = 10, 7  # bits of the fraction that are left


@contextlib.contextmanager
def rounded_matmuls(bits: int) -> Iterator[None]:
    """Round the float32 operands of each dot whose precision is not the highest."""
    own = mlir._platform_specific_lowerings["cpu"]
    before = own.get(lax.dot_general_p)
    found = before or mlir._lowerings[lax.dot_general_p]
    rule: Any = getattr(found, "rule", found)

    def rounded(context: Any, lhs: Any, rhs: Any, **params: Any) -> Any:
        exact = "HIGHEST" in str(params.get("precision"))

        def low(x: Any, aval: Any) -> Any:
            if exact or aval.dtype != "float32":
                return x
            eight = ir.IntegerAttr.get(ir.IntegerType.get_signless(32), 8)
            kept = ir.IntegerAttr.get(ir.IntegerType.get_signless(32), bits)
            return hlo.reduce_precision(x, eight, kept)

        first, second = context.avals_in
        return rule(context, low(lhs, first), low(rhs, second), **params)

    mlir.register_lowering(lax.dot_general_p, rounded, platform="cpu")
    jax.clear_caches()
    try:
        yield
    finally:
        if before is None:
            del own[lax.dot_general_p]
        else:
            own[lax.dot_general_p] = before
        jax.clear_caches()
