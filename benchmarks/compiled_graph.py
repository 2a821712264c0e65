"""What torch.compile's graphs save for backward, tensor family by tensor family, beside the closed form's lines.

    python benchmarks/compiled_graph.py

AOTAutograd traces the bundled model as training compiles it, its min-cut partitioner splits the joint graph, and what
the forward hands to the backward is sorted by shape. Nothing is lowered or run: no C++ compiler, no GPU. "flash on
CUDA" is the same trace with the CUDA operator of flash attention in place of the CPU's, on fake tensors; the other rows
are the graphs that CPU steps run. Exits with 1 where a graph and the closed form disagree.
"""

from __future__ import annotations

import contextlib
import math
import sys
import textwrap
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from report import table, write_result
from torch import Tensor, nn
from torch._inductor.compile_fx import compile_fx
from torch._subclasses.fake_tensor import FakeTensorMode

from fwplan.estimators.moments.evaluate import ROUNDING, lines, widest
from fwplan.estimators.moments.matrix import moments_of
from fwplan.estimators.moments.mode import mode_of, numbers_of
from fwplan.model.modules import build_model
from fwplan.model.modules.decoder import Decoder
from fwplan.optimizers.adamw import AdamW
from fwplan.spec import DeviceSpec, RunSpec
from fwplan.tape.dtypes import DTYPES
from fwplan.tape.phases import Phase
from fwplan.train.precision import autocast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


# Sides that no product confuses: every family has its own number of elements. Depths differ by 2: slopes per layer.
BASE = {"n_layer": 3, "n_head": 3, "n_embd": 96, "vocab_size": 1016, "context_length": 40}
DEEPER = {"n_layer": 5}
OTHER = {"n_layer": 4, "n_head": 4, "n_embd": 160, "vocab_size": 2040}  # the slopes must hold here too
MICRO = 7
FLASH_ON_CUDA = "flash on CUDA"
MODES: dict[str, dict[str, dict[str, object]]] = {
    "bfloat16": {},
    f"bfloat16, {FLASH_ON_CUDA}": {},
    "float32": {"train": {"dtype": "float32"}},
    "pure bfloat16": {"train": {"dtype": "pure_bfloat16"}},
    "bias, untied": {"model": {"bias": True, "tied_embeddings": False}},
    "checkpointed": {"train": {"checkpointing": "block"}},
    f"dropout, {FLASH_ON_CUDA}": {"model": {"dropout": 0.1}},
    "math attention": {"train": {"attention": "math"}},
}
UNITS = ("N*C*L", "N*C", "N*V", "V*C", "C*C*L", "T*C", "B*H*T*T*L", "N*H*L", "N*L", "N")
# Alive between forward and backward beside what the graph saves: what it is given, the loss, states of generators.
BESIDE = {
    *AdamW.remembers,
    "weights",
    "step counts",
    "batch",
    "positions",
    "loss",
    "attention's random state",
    ROUNDING,
}
# Below a thousandth of the rest at any width that is trained, and not asserted: statistics, the first block's mask.
SMALL = ("N*H*L", "N*L", "N", "N*H", "T*T", "T*T*L")
Slopes = dict[str, float]
Numbers = dict[str, int]


def spec_of(mode: str, shape: dict[str, int]) -> RunSpec:
    """Return the mode's spec in this shape; on CUDA where the mode says so."""
    changes = MODES[mode]
    return RunSpec.model_validate(
        {
            "model": BASE | shape | changes.get("model", {}),
            "train": {"micro_batch_size": MICRO, "compile": True} | changes.get("train", {}),
            "device": DeviceSpec(type="cuda" if FLASH_ON_CUDA in mode else "cpu"),
        }
    )


def forward_graph(spec: RunSpec, *, flash_on_cuda: bool = False) -> torch.fx.GraphModule:
    """Return the forward half of the partitioned graph that inductor would lower for this spec."""
    graphs: list[torch.fx.GraphModule] = []

    def keep(graph: torch.fx.GraphModule, _inputs: object, **_options: object) -> Callable[..., Any]:
        graphs.append(graph)

        def call(arguments: list[Any]) -> Any:
            taken = list(arguments)
            arguments.clear()
            return graph(*taken)

        call._boxed_call = True  # type: ignore[attr-defined]  # noqa: SLF001  how AOTAutograd hands over its arguments
        return call

    torch.compiler.reset()
    with _uninitialised(), _flash_on_cuda() if flash_on_cuda else contextlib.nullcontext():
        model = _model(spec)
        part = model.trunk if spec.train.loss.name == "chunked" else model
        compiled: Any = torch.compile(part, backend=lambda g, i: compile_fx(g, i, inner_compile=keep), dynamic=False)
        tokens = torch.zeros((spec.train.micro_batch_size, spec.sequence_length), dtype=torch.int64)
        with autocast(spec, "cpu"):
            out = compiled(tokens) if part is model.trunk else compiled(tokens, tokens)
        out.sum().backward()  # the backward is lowered, hence partitioned, on its first call
    torch.compiler.reset()
    return graphs[0]


def _model(spec: RunSpec) -> Decoder:
    torch.set_default_dtype(getattr(torch, DTYPES[spec.train.dtype][0].name))  # a fake weight that is cast is no leaf
    try:
        return build_model(spec)
    finally:
        torch.set_default_dtype(torch.float32)


@contextlib.contextmanager
def _uninitialised() -> Iterator[None]:
    """Leave weights as they are allocated: a trace needs none, and fake tensors cannot draw them."""
    owners: list[tuple[Any, str]] = [(kind, "reset_parameters") for kind in (nn.Linear, nn.Embedding, nn.LayerNorm)]
    owners.append((Decoder, "_initialise"))
    kept = [getattr(owner, name) for owner, name in owners]
    for owner, name in owners:
        setattr(owner, name, lambda *_arguments: None)
    try:
        yield
    finally:
        for (owner, name), method in zip(owners, kept, strict=True):
            setattr(owner, name, method)


@contextlib.contextmanager
def _flash_on_cuda() -> Iterator[None]:
    """Trace on fake tensors, with attention as the operator that torch dispatches to on CUDA."""

    def attention(q: Tensor, k: Tensor, v: Tensor, dropout_p: float = 0.0, is_causal: bool = False) -> Tensor:
        out: Tensor = torch.ops.aten._scaled_dot_product_flash_attention(q, k, v, dropout_p, is_causal)[0]  # noqa: SLF001
        return out

    kept = F.scaled_dot_product_attention
    F.scaled_dot_product_attention = attention  # type: ignore[assignment]
    try:
        with FakeTensorMode(allow_non_fake_inputs=True):
            yield
    finally:
        F.scaled_dot_product_attention = kept


def saved_families(graph: torch.fx.GraphModule, s: Numbers) -> dict[tuple[str, str], int]:
    """Return elements of what the forward graph hands to the backward, by shape and dtype; views count once."""
    names = _shapes(s)
    (output,) = graph.graph.find_nodes(op="output")
    seen = {_storage(node) for node in graph.graph.find_nodes(op="placeholder")}  # weights and tokens
    families: Counter[tuple[str, str]] = Counter()
    for node in output.args[0]:
        value = node.meta.get("val") if isinstance(node, torch.fx.Node) else None
        if not isinstance(value, Tensor) or _storage(node) in seen or value.dtype in (torch.uint8, torch.uint64):
            continue  # uint8 and uint64: states of random number generators
        seen.add(_storage(node))
        elements = int(value.untyped_storage().nbytes()) // value.element_size()
        families[names.get(elements, f"{elements} elements"), str(value.dtype).removeprefix("torch.")] += elements
    return {family: n for family, n in families.items() if n > s["T"]}  # positions and scalars are left out


def _storage(node: torch.fx.Node) -> int | None:
    value = node.meta.get("val")
    return value.untyped_storage()._cdata if isinstance(value, Tensor) else None  # noqa: SLF001


def _shapes(s: Numbers) -> dict[int, str]:
    names = ("N*C", "3*N*C", "4*N*C", "N*V", "V*C", "C*C", "3*C*C", "4*C*C", "T*C", "N", "N*H", "B*H*T*T", "T*T")
    return {_value(name, s): name for name in reversed(names)}


def _value(product: str, s: Numbers) -> int:
    """Return what a product of letters and numbers, such as 3*N*C, comes to."""
    return math.prod(s[factor] if factor in s else int(factor) for factor in product.split("*"))


def graph_slopes(spec: RunSpec, deeper: RunSpec, families: dict[tuple[str, str], int]) -> Slopes:
    """Return bytes per unit that the graph saves, from the spec's families and those of the deeper spec's graph."""
    flash = spec.device is not None and spec.device.type == "cuda"
    few, many = numbers_of(spec), numbers_of(deeper)
    slopes: Counter[str] = Counter()
    other = saved_families(forward_graph(deeper, flash_on_cuda=flash), many)
    for family in families | other:
        unit, width = family[0].removeprefix("3*").removeprefix("4*"), getattr(torch, family[1]).itemsize
        in_few = width * families.get(family, 0) / _elements(unit, few)
        in_many = width * other.get(family, 0) / _elements(unit, many)
        per_layer = (in_many - in_few) / (many["L"] - few["L"])
        slopes[f"{unit}*L"] += per_layer
        slopes[unit] += in_few - per_layer * few["L"]
    return {unit: slope for unit, slope in slopes.items() if abs(slope) > 1e-9}


def _elements(unit: str, s: Numbers) -> float:
    return next((count for count, name in _shapes(s).items() if name == unit), 1)


def closed_form_slopes(spec: RunSpec) -> Slopes:
    """Return bytes per unit of the closed form's lines that are alive between forward and backward.

    The lines are sums of the units, so drawn sizes and least squares give the exact coefficients.
    """
    draw = np.random.default_rng(0)
    rows, totals = [], []
    for _ in range(4 * len(UNITS)):
        B, T, H, C, L, V = (int(draw.integers(2, 90)) for _ in range(6))
        shape = {"n_layer": L, "n_head": H, "n_embd": H * C, "vocab_size": 8 * V, "context_length": T}
        drawn = RunSpec.model_validate(
            spec.model_dump()
            | {
                "model": spec.model.model_dump() | shape,
                "train": spec.train.model_dump() | {"micro_batch_size": B, "sequence_length": None},
            }
        )
        numbers = numbers_of(drawn)
        rows.append([_value(unit, numbers) for unit in UNITS])
        totals.append(closed_form_bytes(drawn))
    found, *_ = np.linalg.lstsq(np.array(rows, float), np.array(totals, float))
    return {name: round(float(slope), 4) for name, slope in zip(UNITS, found, strict=True) if abs(slope) > 1e-4}


def closed_form_bytes(spec: RunSpec) -> int:
    """Return bytes of the closed form's lines that are alive between forward and backward."""
    moments, numbers = moments_of(mode_of(spec, evaluates=False)), numbers_of(spec)
    rows = {Phase.LOSS_FORWARD: widest(moments, numbers)[Phase.LOSS_FORWARD]}
    return sum(line.bytes for line in lines(moments, numbers, rows) if line.name not in BESIDE)


def compare(mode: str) -> dict[str, Any]:
    """Return the mode's families and both slopes, and where they disagree."""
    spec, other = spec_of(mode, {}), spec_of(mode, OTHER)
    flash = FLASH_ON_CUDA in mode
    families = saved_families(forward_graph(spec, flash_on_cuda=flash), numbers_of(spec))
    graph, closed = graph_slopes(spec, spec_of(mode, DEEPER), families), closed_form_slopes(spec)
    there = saved_families(forward_graph(other, flash_on_cuda=flash), numbers_of(other))
    saved = sum(getattr(torch, dtype).itemsize * n for (_, dtype), n in there.items())
    error = closed_form_bytes(other) / saved - 1
    wrong = [u for u in graph | closed if u not in SMALL and abs(graph.get(u, 0) - closed.get(u, 0)) > 0.01]
    return {
        "mode": mode,
        "families": {f"{name} {dtype}": n * getattr(torch, dtype).itemsize for (name, dtype), n in families.items()},
        "graph": {unit: round(slope, 4) for unit, slope in graph.items()},
        "closed_form": closed,
        "error_at_another_shape": round(error, 6),
        "disagree": wrong + (["total"] if abs(error) > TOTAL else []),
    }


TOTAL = 0.005  # of what is saved at another width, depth and vocabulary


def main() -> int:
    """Capture, compare, print, and write the result file; return 1 where they disagree."""
    rows = [compare(mode) for mode in MODES]
    for row in rows:
        print(f"{row['mode']}: saved for backward, bytes at {BASE}, micro-batch {MICRO}")
        print(textwrap.fill(", ".join(f"{n:,} in {name}" for name, n in row["families"].items()), 100), end="\n\n")
    units = [unit for unit in UNITS if any(unit in row["graph"] or unit in row["closed_form"] for row in rows)]
    cells = [
        (row["mode"], side.replace("_", " "), *(f"{row[side].get(unit, 0):g}" for unit in units), error)
        for row in rows
        for side, error in (("graph", ""), ("closed_form", f"{row['error_at_another_shape']:+.2%}"))
    ]
    print(table(("bytes per", "", *units, "another shape"), cells))
    wrong = {row["mode"]: row["disagree"] for row in rows if row["disagree"]}
    print(f"\nDISAGREE: {wrong}" if wrong else "\nEvery graph saves what the closed form says.")
    L = 12
    per_layer, once = (rows[1]["graph"].get(unit, 0) for unit in ("N*C*L", "N*C"))
    print(
        f"bfloat16 at {L} layers: {per_layer:g} + {once:g}/{L} = {per_layer + once / L:g} bytes a token, layer, width"
    )
    body = {"unit": "bytes saved for backward", "base": BASE | {"micro_batch_size": MICRO}, "rows": rows}
    print(f"written: {write_result('compiled-graph', body).name}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
