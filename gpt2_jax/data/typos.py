"""Labels that look misspelt."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping

_TYPO_RATIO = 20  # a typo is so much rarer than what was meant


def likely_typos(counts: Mapping[str, int]) -> dict[str, str]:
    """Return labels that look misspelt, each with the commoner one that was meant.

    At most two letters differ, no digit does, and the one is far rarer.
    """
    found = {}
    commonest = sorted(counts, key=lambda label: -counts[label])
    for label in counts:
        for meant in commonest:
            if counts[meant] < _TYPO_RATIO * counts[label]:
                break
            if _differ_by_a_slip(label, meant):
                found[label] = meant
                break
    return found


def _differ_by_a_slip(a: str, b: str) -> bool:
    if min(len(a), len(b)) < 5 or abs(len(a) - len(b)) > 2:
        return False
    if re.findall(r"\d", a) != re.findall(r"\d", b):
        return False
    codes = difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes()
    changes = [max(i2 - i1, j2 - j1) for tag, i1, i2, j1, j2 in codes if tag != "equal"]
    return 0 < sum(changes) <= 2
