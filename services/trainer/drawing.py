"""What all drawn plots share: style, labels, axes, legends, SVG.

Text stays text (small files, any script, searchable); labels are the user's and are never read as
mathematical notation. The same data gives the same bytes. How a kind of plot is drawn stands in
`drawing_classes`, `drawing_numbers` and `drawing_series`, one function each: `(data, model's label) -> svg`.
"""

from __future__ import annotations

import contextlib
import io
import math
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import EngFormatter

INK, SOFT, GRID, ACCENT, WARM = "#1f2937", "#6b7280", "#e5e7eb", "#2563eb", "#dc2626"
PALETTE = (
    "#2563eb", "#ea580c", "#16a34a", "#9333ea", "#dc2626",
    "#0891b2", "#db2777", "#65a30d", "#92400e", "#475569",
)  # fmt: skip
BLUES = LinearSegmentedColormap.from_list("blues", ["#f8fafc", "#bfdbfe", "#60a5fa", "#2563eb", "#1e3a8a"])
REFERENCE: dict[str, Any] = {"color": SOFT, "linestyle": (0, (4, 4)), "linewidth": 1}
"""What a curve is compared with: chance, perfection, zero."""
LABEL_LENGTH = 22
LONGEST_BESIDE = 30
"""Characters of a label that has a line of its own."""

_UNDRAWABLE = ("Cc", "Cs", "Zl", "Zp", "Cn", "Co")
_DIRECTIONS = dict.fromkeys([0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)])
"""Characters that turn the direction of what follows, also of what is not the user's."""

# Any: matplotlib types the keys as one long Literal
STYLE: Any = {
    "text.parse_math": False,
    "text.usetex": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "trainyard",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": "#9ca3af",
    "axes.labelcolor": INK,
    "axes.labelsize": 10,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.formatter.useoffset": False,
    "axes.unicode_minus": False,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "path.simplify": True,
}


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Everything is drawn within it, and nothing of it is left behind."""
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        # letters DejaVu Sans lacks are only measured wrongly: the SVG keeps text as text
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        # Displays ask for legends of their own, which are replaced
        warnings.filterwarnings("ignore", message="No artists with labels")
        yield


def shown(text: str) -> str:
    """A user's label as it can be drawn: one line, no control characters, not too long."""
    clean = _clean(text)
    return clean if len(clean) <= LABEL_LENGTH else clean[: LABEL_LENGTH - 1].rstrip() + "…"


def shown_beside(text: str) -> str:
    """A label with a line of its own. Long names of columns differ at their ends, so the middle gives way."""
    clean = _clean(text)
    if len(clean) <= LONGEST_BESIDE:
        return clean
    tail = LONGEST_BESIDE // 2 - 1
    return clean[: LONGEST_BESIDE - tail - 1].rstrip() + "…" + clean[-tail:].lstrip()


def _clean(text: str) -> str:
    text = "".join(" " if unicodedata.category(c) in _UNDRAWABLE else c for c in text.translate(_DIRECTIONS))
    return " ".join(text.split()) or "(empty)"


def beside(label: str, value: str) -> str:
    """A label and what is said of it. Written from right to left, a label would take the rest along."""
    if any(unicodedata.bidirectional(c) in ("R", "AL", "AN") for c in label):
        # what it is between: FIRST STRONG ISOLATE and POP DIRECTIONAL ISOLATE
        label = f"\u2068{label}\u2069"
    return f"{label} ({value})" if value else label


def axes(title: str, model: str, size: tuple[float, float]) -> tuple[Figure, Axes]:
    made = figure(size)
    ax = made.subplots()
    name(ax, title, model)
    return made, ax


def figure(size: tuple[float, float]) -> Figure:
    """`size` in inches of 72 points. Not pyplot's: nothing is shared, and it is gone with its last name."""
    return Figure(
        size, layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1, compress=True), facecolor="white"
    )


def name(ax: Axes, title: str, model: str) -> None:
    ax.set_title(title, loc="left")
    ax.set_title(shown(model) if model else "", loc="right", fontsize=9, color=SOFT, fontweight="normal")


def legend(figure: Figure, ax: Axes, handles: Sequence[Any], names: Sequence[str], corner: Any) -> None:
    """In a corner while it is small, else beside the plot; so it is where there is no `corner` for it."""
    if (old := ax.get_legend()) is not None:
        old.remove()
    if corner is not None and len(handles) <= 4:
        box = ax.legend(handles, names, loc=corner, frameon=True, framealpha=0.9, edgecolor="none")
        box.set_zorder(5)
    else:
        figure.legend(handles, names, loc="outside right center")


def magnitudes(*axes: Any, biggest: float) -> None:
    """1200000 reads worse than 1.2M; what is smaller or beyond the prefixes stays as matplotlib has it."""
    if 1e4 <= biggest < 1e15:
        for axis in axes:
            axis.set_major_formatter(EngFormatter(sep=""))


def count(n: int) -> str:
    return f"{n:,}" if n < 10_000 else EngFormatter(places=0 if n >= 100_000 else 1, sep="")(n)


def ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def floats(values: Sequence[float | None]) -> np.ndarray:
    return np.array([math.nan if value is None else value for value in values], dtype=float)


def svg(figure: Figure) -> str:
    out = io.StringIO()
    FigureCanvasSVG(figure).print_svg(out, metadata={"Date": None, "Creator": None})
    return out.getvalue()
