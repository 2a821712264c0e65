"""The picture of docs/accuracy.md, accuracy.svg: predicted over measured peaks, from an accuracy result file.

    python benchmarks/picture.py                     the newest benchmarks/results/*-accuracy.json
    python benchmarks/picture.py some-accuracy.json

Needs matplotlib (pip install -e '.[bench]'). A shape for each mode, so that it reads without colour.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from report import RESULTS

from fwplan.units import GIB, MIB

if TYPE_CHECKING:
    from collections.abc import Iterator

PICTURE = Path(__file__).parents[1] / "docs" / "accuracy.svg"
BAND, SHOWN = 0.02, 0.08  # the shaded band; beyond the second a point stands at the edge, with its error beside it
_PUBLISHED = {
    "eager": "published GPU, eager",
    "compiled": "published GPU, compiled",
    "checkpointed": "published GPU, compiled and checkpointed",
    "math attention": "published GPU, math attention",
}
_MARKERS = "os^DvPX*<>hp"
_GREYS = ("#1b6ca8", "#c2571a", "#3a7d44", "#7a4fa3", "#8c6d1f", "#444444")

Series = dict[str, list[tuple[float, float]]]


def series(body: dict[str, Any]) -> Series:
    """Return (measured bytes, predicted over measured, less one) of each mode's rows."""
    points: Series = {}
    for mode, measured, error in _points(body):
        points.setdefault(mode, []).append((measured, error))
    return points


def _points(body: dict[str, Any]) -> Iterator[tuple[str, float, float]]:
    for row in body.get("campaign", []):
        yield f"{row['device']}, {row['kind']}", row["measured_bytes"], row["error"]
    for row in body["published"]:
        yield _PUBLISHED[row["mode"]], row["published_mib"] * MIB, row["error"]
    for key, mode in (("cpu_eager", "CPU steps, eager"), ("cpu_compiled", "CPU steps, compiled")):
        for row in body[key]:
            yield mode, row["measured_bytes"], row["error"]


def draw(body: dict[str, Any], path: Path = PICTURE) -> bool:
    """Write the picture and return True, or False where matplotlib is not installed."""
    try:
        import matplotlib as mpl  # noqa: PLC0415  # only whoever draws needs it
    except ImportError:
        return False
    mpl.use("svg")
    # text as text, and the same bytes for the same data
    mpl.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "fwplan", "font.family": "sans-serif"}
    from matplotlib import pyplot as plt  # noqa: PLC0415

    points = series(body)
    figure, axes = plt.subplots(figsize=(9, 5), layout="constrained")
    axes.axhspan(-BAND, BAND, color="#000000", alpha=0.07, lw=0)
    axes.axhline(0, color="#000000", lw=0.8)
    for i, (mode, rows) in enumerate(points.items()):
        x = [measured / GIB for measured, _ in rows]
        y = [max(-SHOWN, min(SHOWN, error)) for _, error in rows]
        label = f"{mode} ({len(rows)})"
        axes.scatter(
            x, y, s=34, marker=_MARKERS[i % len(_MARKERS)], label=label, alpha=0.8, clip_on=False, zorder=3,
            facecolors="none" if i % 2 else _GREYS[i % len(_GREYS)], edgecolors=_GREYS[i % len(_GREYS)],
        )  # fmt: skip
        for measured, error in rows:
            if abs(error) > SHOWN:
                axes.annotate(
                    f"{error:+.0%}", (measured / GIB, max(-SHOWN, min(SHOWN, error))), xytext=(7, -3),
                    textcoords="offset points", fontsize=8,
                )  # fmt: skip
    axes.set(
        xscale="log", ylim=(-SHOWN, SHOWN), xlabel="measured peak, GiB allocated", ylabel="error of the prediction"
    )
    axes.yaxis.set_major_formatter(mpl.ticker.PercentFormatter(1, decimals=0))
    axes.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axes.grid(visible=True, alpha=0.25, lw=0.5)
    count = sum(len(rows) for rows in points.values())
    axes.set_title(
        f"Predicted against measured peak memory of a training step: {count} runs; band: ±{BAND:.0%}", fontsize=11
    )
    figure.legend(loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, format="svg", metadata={"Date": None})
    plt.close(figure)
    return True


def main() -> None:
    """Draw the given or the newest result file."""
    source = Path(sys.argv[1]) if len(sys.argv) > 1 else max(RESULTS.glob("*-accuracy.json"))
    drawn = draw(json.loads(source.read_text(encoding="utf-8")))
    print(f"{source.name} -> {PICTURE.name}" if drawn else "no picture: pip install -e '.[bench]' for matplotlib")


if __name__ == "__main__":
    main()
