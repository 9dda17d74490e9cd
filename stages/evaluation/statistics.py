"""Counting what is right, with intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass

from anygen.errors import BadArgument


def wilson_interval(right: int, count: int, *, z: float = 1.959963984540054) -> tuple[float, float]:
    """Interval of a share from counts.

    Wilson's score interval (Wilson 1927, "Probable inference, the law of succession, and statistical
    inference", equation for the roots): (p + z2/2n -+ z sqrt(p(1-p)/n + z2/4n2)) / (1 + z2/n).

    Args:
        right: Successes.
        count: Trials.
        z: Quantile of the normal distribution; the default gives 95%.

    Returns:
        Lower and upper end in 0..1; (0, 1) without trials.

    Raises:
        BadArgument: the counts contradict each other.
    """
    if not 0 <= right <= count:
        raise BadArgument(f"Found {right} right of {count}; expected 0 <= right <= count.")
    if count == 0:
        return 0.0, 1.0
    share = right / count
    center = share + z * z / (2 * count)
    spread = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    scale = 1 + z * z / count
    return max(0.0, (center - spread) / scale), min(1.0, (center + spread) / scale)


@dataclass
class Tally:
    """Successes and trials of one question."""

    right: int = 0
    """Successes."""
    count: int = 0
    """Trials."""

    def add(self, success: bool) -> None:
        """Count one trial."""
        self.right += int(success)
        self.count += 1

    @property
    def share(self) -> float:
        """Share of successes; NaN without trials."""
        return self.right / self.count if self.count else math.nan

    def as_dict(self) -> dict[str, float | int | None]:
        """Counts, share and 95% interval, for JSON."""
        low, high = wilson_interval(self.right, self.count)
        share = round(self.share, 4) if self.count else None
        return {
            "right": self.right,
            "count": self.count,
            "share": share,
            "low": round(low, 4),
            "high": round(high, 4),
        }
