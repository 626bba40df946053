"""What the programs of every size need of every accelerator, by its own compiler.

    python -m experiments.targets.run

adds a row for each program to table.md, those that tell most first. What is there
already is not compiled again, so it can be stopped and started at any time.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from gpt2_jax.config import PARALLEL, PRESETS, TRAINABLE, CheckConfig
from gpt2_jax.plan import check
from gpt2_jax.plan.cases import Case, cases

TABLE = Path(__file__).with_name("table.md")

ONE: Final = ("h100", "a100", "l4", "t4", "v4", "v5e", "v5p", "v6e", "tpu7x")
MANY: Final = ("h100:8", "v5e:4x4")
HALF: Final = ("bfloat16",)
BOTH: Final = ("bfloat16", "float32")
ALL: Final = ("all",)
TRAIN: Final = ("train",)
SIZES = tuple(PRESETS)

# What is asked, one after the other; of what is asked twice there is one row.
GRID = (
    CheckConfig(ONE, ("124M",), dtype=HALF),
    CheckConfig(("h100:8",), ("1558M",), ALL, HALF, programs=TRAIN, shard="fsdp"),
    CheckConfig(ONE, ("124M",), ALL, HALF, programs=TRAIN),
    CheckConfig(ONE, ("124M",), dtype=BOTH, programs=("trunk", "train")),
    CheckConfig(MANY, ("124M",), TRAINABLE, HALF, PARALLEL, TRAIN),
    CheckConfig(("l4", "v5e"), SIZES, dtype=HALF),
    CheckConfig(("h100", "v6e"), SIZES, dtype=BOTH, programs=("trunk", "train")),
    CheckConfig(MANY, SIZES, ALL, HALF, programs=TRAIN, shard="fsdp"),
    CheckConfig(MANY, ("1558M",), ALL, programs=TRAIN, shard="fsdp"),
)


def grid() -> Iterator[Case]:
    """Yield the programs of the table, each once, those that tell most first."""
    seen = set()
    for asked in GRID:
        for case in cases(asked):
            if _key(case) not in seen:
                seen.add(_key(case))
                yield case


def _key(case: Case) -> tuple[str, ...]:
    return case.target, *case.names, case.program


def keys_of(table: str) -> set[tuple[str, ...]]:
    """Return what says, in each row of a table, which program it is of."""
    lines = table.splitlines()[len(check.HEADER) :]
    rows = [[cell.strip() for cell in line.split("|")[1:]] for line in lines]
    return {(row[0], *row[2:7]) for row in rows}


def row_of(case: Case) -> str:
    """Return the row of a program; where the compiler fails, it says so."""
    try:
        need = check.check(case)
    except Exception as error:  # of whatever kind a compiler raises
        reason = f"the compiler failed: {str(error).splitlines()[0][:200]}"
        need = check.Need(0, "", None, 0.0, fits=False, reason=reason)
    return check.describe(case, need)


def main(table: Path = TABLE) -> None:
    """Add the rows that the table lacks."""
    if not table.exists():
        table.write_text("".join(f"{line}\n" for line in check.HEADER), "utf-8")
    done = keys_of(table.read_text("utf-8"))
    left = [case for case in grid() if _key(case) not in done]
    check.prepare_compiler([case.target for case in left])
    with table.open("a", encoding="utf-8") as file:
        for number, case in enumerate(left, 1):
            print(f"{number} of {len(left)}:", *_key(case), file=sys.stderr)
            print(row_of(case), file=file, flush=True)


if __name__ == "__main__":
    main()
