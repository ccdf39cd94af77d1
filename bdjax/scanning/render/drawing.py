"""Where a score lies among benign networks: the geometry of a drawing."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from bdjax.scanning.render import words

if TYPE_CHECKING:
    from bdjax.scanning.report import Judgement

WIDTH, HEIGHT = 480, 190
_LEFT, _RIGHT, _TOP, _BASE = 12, 12, 44, 150
_FAR = 2.0  # times the span of references and limits: a score beyond is cut off


def scale(judgement: "Judgement") -> dict[str, Any] | None:
    """Bars of a histogram, the grey zone, the threshold, the network's own mark.

    None where there are no benign references or no finite score. All in units of a
    drawing of :data:`WIDTH` times :data:`HEIGHT`.
    """
    calibration, finding = judgement.calibration, judgement.finding
    if finding is None or calibration is None or math.isnan(finding.score):
        return None
    benign = calibration.benign_scores[np.isfinite(calibration.benign_scores)]
    if not len(benign):
        return None
    limits = [v for v in (calibration.grey, calibration.threshold) if math.isfinite(v)]
    low, high = min([*benign, *limits]), max([*benign, *limits])
    span = (high - low) or 1.0
    score = float(np.clip(finding.score, low - _FAR * span, high + _FAR * span))
    off = score != finding.score
    low, high = min(low, score), max(high, score)
    low, high = low - 0.04 * (high - low or 1), high + 0.04 * (high - low or 1)

    def x(value: float) -> float:
        share = (float(np.clip(value, low, high)) - low) / (high - low)
        return round(_LEFT + share * (WIDTH - _LEFT - _RIGHT), 1)

    step = 4 * float(np.std(benign)) / math.sqrt(len(benign)) or span / 4
    bins = int(np.clip((high - low) / step, 8, 60))
    counts, edges = np.histogram(benign, bins, (low, high))
    tall = (_BASE - _TOP) / max(counts.max(), 1)
    mark = x(score)
    return {
        "width": WIDTH,
        "height": HEIGHT,
        "base": _BASE,
        "top": _TOP,
        "bars": [
            (
                x(a),
                round(_BASE - n * tall, 1),
                round(x(b) - x(a), 1),
                round(n * tall, 1),
            )
            for n, a, b in zip(counts, edges[:-1], edges[1:], strict=True)
            if n
        ],
        "grey": _zone(x, calibration.grey, calibration.threshold),
        "threshold": _mark(x, calibration.threshold),
        "score": {
            "x": mark,
            "text": words.figure(finding.score),
            "anchor": _anchor(mark),
            "off": off,
        },
        "ticks": [(x(v), f"{v:.3g}") for v in _ticks(low, high)],
        "references": len(benign),
    }


def _zone(x: Any, grey: float, limit: float) -> tuple[float, float] | None:
    if not (math.isfinite(grey) and math.isfinite(limit) and grey < limit):
        return None
    return x(grey), round(x(limit) - x(grey), 1)


def _mark(x: Any, limit: float) -> dict[str, Any] | None:
    if not math.isfinite(limit):
        return None
    return {"x": x(limit), "text": f"{limit:.3g}", "anchor": _anchor(x(limit))}


def _anchor(place: float) -> str:
    """Which side of a mark its words begin at."""
    if place > 0.75 * WIDTH:
        return "end"
    return "start" if place < 0.25 * WIDTH else "middle"


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers, three to seven."""
    raw = (high - low) / 6
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw)
    first = math.ceil(low / step)
    return [k * step for k in range(first, math.floor(high / step) + 1)]
