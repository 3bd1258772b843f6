"""`Finding`: one thing that a diagnosis found, good or bad."""

import dataclasses

LEVELS = ("bad", "look", "good")  # in the order in which they are shown


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Args:
        check: The name of the check, which never changes: `"spread"`.
        level: `"bad"`, training will fail; `"look"`, it may; `"good"`.
        where: The tensor, layer or input.
        measured: What was measured, in words and figures.
        why: Why it matters, in a line.
        remedy: One line of code that mends it; empty where there is nothing to mend.
        value: The figure itself, where there is one.
    """

    check: str
    level: str
    where: str
    measured: str
    why: str
    remedy: str = ""
    value: float | None = None
