"""How often the interval of a sampled `count` holds the truth.

    python benchmarks/count_coverage.py [--cases 100]

Documents of this machine (English, source code, message catalogues of many languages) are tokenized once. From these,
data sets are drawn: sources, their shares, files, row groups, how the sources lie, and what the row groups' sizes are
taken from (their decoded bytes, as for up to 256 MB; footers of plain text, off by 1 %; footers of dictionaries, off by
a factor of e^0.5 or so from group to group). Of each the truth is known. `count`'s own functions then choose places,
units and the interval: only reading parquet is left out. A case is covered if the truth lies in the interval.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

import numpy as np
from report import table, write_result
from texts import source_texts, translations

from fwplan.data.gpt2 import encode
from fwplan.data.sampling import PLACES, UNIT_BYTES, Estimate, estimate, found_in, places, unit_at

if TYPE_CHECKING:
    import numpy.typing as npt

    Documents = npt.NDArray[np.int64]  # (n, 2): tokens with end-of-text, bytes

LAYOUTS = ("shuffled", "one source a file", "back to back", "the same in each file", "by length", "a rare source")
SIZES = ("decoded", "plain footers", "encoded footers")
_EACH = 700_000  # bytes of text of each source
_BYTES = 60_000_000  # of a data set, about


def sources() -> dict[str, Documents]:
    """Return the tokens and bytes of some documents of each source."""
    texts = source_texts() | translations()
    found = {name: _some(documents) for name, documents in texts.items()}
    return {name: np.array([_measured(text) for text in some]) for name, some in found.items() if len(some) >= 40}


def _some(documents: list[str]) -> list[str]:
    sizes = np.cumsum([len(text.encode()) for text in documents])
    return documents[: int(np.searchsorted(sizes, _EACH))]


def _measured(text: str) -> tuple[int, int]:
    return len(encode(text)) + 1, len(text.encode())


def draw(rng: np.random.Generator, pool: dict[str, Documents], layout: str) -> list[Documents]:
    """Return the files of a drawn data set, documents in order."""
    files, names = int(rng.integers(1, 41)), list(pool)
    several = rng.permutation(names)[: int(rng.integers(2, 9))]
    shares = rng.dirichlet(np.full(len(several), 0.7)) * 0.98 + 0.02 / len(several)
    if layout == "a rare source":
        rare = float(rng.uniform(0.005, 0.05))
        several, shares = several[:2], np.array([1 - rare, rare])
    parts = [_drawn(rng, pool[name], share * _BYTES) for name, share in zip(several, shares, strict=True)]
    if layout == "one source a file":
        return parts
    whole = np.concatenate(parts)
    if layout == "shuffled":
        whole = rng.permutation(whole)
    if layout == "by length":
        whole = whole[np.argsort(whole[:, 1])]
    if layout == "the same in each file":
        return [np.concatenate([part[n::files] for part in parts]) for n in range(files)]
    return np.array_split(whole, files)


def _drawn(rng: np.random.Generator, documents: Documents, size: float) -> Documents:
    """Return documents of about so many bytes, drawn with repetition; some are cut short, as a crawl's are."""
    count = max(int(size / documents[:, 1].mean() * 2), 8)
    part = np.minimum(rng.lognormal(-1.0, 1.0, (count, 1)), 1.0)
    chosen = documents[rng.integers(0, len(documents), count)]
    return np.maximum((chosen * part).astype(np.int64), 1)


def row_groups(rng: np.random.Generator, files: list[Documents]) -> list[Documents]:
    """Return the files' row groups: of 100 or 1,000 rows, or one a file."""
    rows = int(rng.choice([100, 1000, 10**9]))
    return [file[start : start + rows] for file in files for start in range(0, len(file), rows)]


def group_sizes(rng: np.random.Generator, groups: list[Documents], kind: str) -> list[int]:
    """Return what `count` takes for the groups' sizes: as decoded, or by footers that are off by much or little."""
    spread = {"decoded": 0.0, "plain footers": 0.01, "encoded footers": 0.5}[kind]
    factors = np.exp(rng.normal(0, spread, len(groups))) * (0.1 if kind == "encoded footers" else 1)
    return [max(int(group[:, 1].sum() * factor), len(group)) for group, factor in zip(groups, factors, strict=True)]


def sampled(groups: list[Documents], sizes: list[int]) -> Estimate:
    """Return what `count` would say of these row groups."""
    found = []
    for place in places(sizes, PLACES):
        group = groups[place.group]
        first, rows = unit_at(group[:, 1], place.part, UNIT_BYTES)
        tokens, read = group[first : first + rows].sum(axis=0)
        found.append(found_in(group[:, 1], (int(tokens), int(read)), sizes[place.group]))
    return estimate(found, sum(sizes))


def case(rng: np.random.Generator, pool: dict[str, Documents], layout: str, kind: str) -> tuple[float, float]:
    """Return (error, half the interval's width) of a drawn data set, as shares of its tokens."""
    groups = row_groups(rng, draw(rng, pool, layout))
    said, truth = sampled(groups, group_sizes(rng, groups, kind)), sum(int(group[:, 0].sum()) for group in groups)
    return said.tokens / truth - 1, said.spread / truth


def summary(cases: list[tuple[float, float]]) -> dict[str, Any]:
    """Return how many of the cases are covered, how large errors are, and how wide the intervals."""
    errors, widths = np.abs(np.array(cases)).T
    return {
        "cases": len(cases),
        "covered": int((errors <= widths).sum()),
        "median_error": round(float(np.median(errors)), 5),
        "p95_error": round(float(np.quantile(errors, 0.95)), 5),
        "median_half_width": round(float(np.median(widths)), 5),
    }


def main() -> None:
    """Draw, print, and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=100, help="of each layout and kind of sizes")
    options = parser.parse_args()
    rng, pool = np.random.default_rng(0), sources()
    rows = []
    for layout in LAYOUTS:
        for kind in SIZES:
            found = summary([case(rng, pool, layout, kind) for _ in range(options.cases)])
            rows.append({"layout": layout, "sizes": kind} | found)
    header = ("layout", "sizes", "covered", "median error", "p95", "half width")
    print(table(header, [
        (r["layout"], r["sizes"], f"{r['covered']} of {r['cases']}", f"{r['median_error']:.2%}",
         f"{r['p95_error']:.2%}", f"{r['median_half_width']:.2%}")
        for r in rows
    ]))  # fmt: skip
    ratios = {name: round(float(found[:, 0].sum() / found[:, 1].sum()), 3) for name, found in pool.items()}
    body = {"places": PLACES, "unit_bytes": UNIT_BYTES, "tokens_per_byte": ratios, "rows": rows}
    print(f"\nwritten: {write_result('count-coverage', body).name}")


if __name__ == "__main__":
    main()
