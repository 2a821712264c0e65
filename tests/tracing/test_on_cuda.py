"""What a GPU does otherwise than a CPU, without one: autocast's lists, grouped queries, RMSNorm; and generators."""

import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import fwplan
from fwplan.tracing.autocast_policy import ops_of, policy

HEADER = Path(torch.__file__).parent / "include/ATen/autocast_mode.h"
LISTS = {
    "AT_FORALL_FP32": "float32",
    "AT_FORALL_FP32_SET_OPT_DTYPE": "dtype",
    "AT_FORALL_LOWER_PRECISION_FP": "lower",
    "AT_FORALL_PROMOTE": "promote",
}
N, C = 1024, 256  # tokens and width of what follows: a bfloat16 tensor of this shape is 512 KiB


@pytest.mark.skipif(not HEADER.is_file(), reason="this torch came without its headers")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("macro", LISTS)
def test_torch_says_of_every_op_what_its_own_source_lists(macro):
    listed = re.search(rf"#define {macro}\(_\)(.*?)\n\n", HEADER.read_text(encoding="utf-8"), re.DOTALL).group(1)
    names = ["aten::" + ".".join(filter(None, entry)) for entry in re.findall(r"_\((\w+)(?:,\s*(\w+))?\)", listed)]
    assert len(names) > 8
    assert {name: policy(name, "cuda") for name in names} == dict.fromkeys(names, LISTS[macro])


def test_the_lists_of_cpu_are_others():
    assert policy("aten::exp", "cuda") == "float32"
    assert "aten::exp" not in ops_of("cpu")
    assert policy("aten::mm", "cuda") == policy("aten::mm", "cpu") == "lower"


class Calls(nn.Module):
    """Applies a function to a half-precision product, as a block of a language model does."""

    def __init__(self, call):
        super().__init__()
        self.product, self.call = nn.Linear(C, C, bias=False), call

    def forward(self, x):
        return self.call(self.product(x))


def _made(call):
    """Return the (op, dtype) of every tensor that the call makes of a product under CUDA's autocast, forward only."""

    def step(model, _):
        with torch.no_grad(), torch.autocast("cuda", torch.bfloat16):
            model(torch.zeros(N, C, device="cuda"))

    trace = fwplan.trace(Calls(call), step)
    made = [trace.origins[event.tensor] for event in trace.events[trace.step.start :] if event.action == "allocate"]
    after = next(i for i, origin in enumerate(made) if origin.op == "mm") + 1
    return [(origin.op, origin.dtype) for origin in made[after:]]


CAST = ("_to_copy", "float32")
FOREIGN = {
    "exp": (torch.exp, [CAST, ("exp", "float32")]),
    "a power, as written": (lambda x: x**2, [CAST, ("pow", "float32")]),
    "log": (lambda x: x.log(), [CAST, ("log", "float32")]),
    "a sum is taken in float32, not copied": (lambda x: x.sum(-1), [("sum", "float32")]),
    "its dtype is the caller's to say": (lambda x: x.sum(-1, dtype=torch.bfloat16), [("sum", "bfloat16")]),
    "softmax": (lambda x: x.softmax(-1), [CAST, ("_softmax", "float32")]),
    "inside a function of torch's own": (F.softplus, [CAST, ("softplus", "float32")]),
    "sine is on no list": (torch.sin, [("sin", "bfloat16")]),
    "promoted to the widest": (
        lambda x: torch.addcmul(x, x, torch.ones(C, device="cuda")),
        [("ones", "float32"), CAST, CAST, ("addcmul", "float32")],  # no leaf: each use is cast
    ),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_autocast_does_as_on_cuda(name):
    call, made = FOREIGN[name]
    assert _made(call) == made


def test_cross_entropy_keeps_the_logits_dtype_for_its_log_softmax():
    answers = torch.zeros(N, dtype=torch.int64)
    made = _made(lambda logits: F.cross_entropy(logits, torch.zeros_like(answers, device="cuda")))
    floating = [origin for origin in made if origin[1] != "int64"]
    assert floating[:2] == [("_log_softmax", "bfloat16"), CAST]


def test_rms_norm_is_one_kernel_with_one_backward():
    made = _made(lambda x: F.rms_norm(x.float(), (C,)))
    assert [op for op, _ in made] == ["_to_copy", "_fused_rms_norm", "_fused_rms_norm"]  # its output, its 1/std

    def step(model, _):
        model(torch.ones(N, C, requires_grad=True, device="cuda")).sum().backward()
        model.zero_grad()

    trace = fwplan.trace(nn.RMSNorm(C), step)
    ops = {trace.origins[event.tensor].op for event in trace.events[trace.step.start :]}
    assert {"_fused_rms_norm", "_fused_rms_norm_backward"} <= ops
    assert not ops & {"pow", "mean", "rsqrt", "mul"}


B, T, HEADS, GROUPS, WIDTH = 2, 256, 8, 2, 64


def _attention(groups, dtype):
    """Return the traced peak of attention and its backward above its inputs, and the ops that it took."""

    def step(_, __):
        shape = B, HEADS, T, WIDTH
        q = torch.zeros(shape, device="cuda", dtype=dtype, requires_grad=True)
        k, v = (torch.zeros(B, groups, T, WIDTH, device="cuda", dtype=dtype, requires_grad=True) for _ in range(2))
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=groups != HEADS)
        out.backward(torch.ones_like(out))

    trace = fwplan.trace(nn.Identity(), step)
    return trace.peak_allocated_bytes, {origin.op for origin in trace.origins}


def test_grouped_queries_take_flash_where_it_serves():
    peak, ops = _attention(GROUPS, torch.bfloat16)
    all_heads, _ = _attention(HEADS, torch.bfloat16)
    assert "_scaled_dot_product_flash_attention" in ops
    assert peak < all_heads
    scores = 2 * B * HEADS * T * T
    assert peak - int(fwplan.estimators.overhead.CUDA_WORKSPACES.point) < 8 * scores


def test_grouped_queries_in_float32_are_math():
    _, ops = _attention(GROUPS, torch.float32)
    assert not any("flash" in op or "efficient" in op for op in ops)


class Drawing(nn.Module):
    """Holds a generator, as data augmentation and samplers do."""

    def __init__(self):
        super().__init__()
        self.weight, self.generator = nn.Parameter(torch.ones(C)), torch.Generator().manual_seed(1)

    def forward(self):
        return (torch.rand(N, C, generator=self.generator) * self.weight).sum()


@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_a_module_that_holds_a_generator(device):
    model = Drawing()
    state = model.generator.get_state()

    def step(fake, _):
        fake().backward()
        fake.zero_grad()

    trace = fwplan.trace(model, step, device=device)
    assert trace.peak_allocated_bytes > 4 * N * C
    assert torch.equal(model.generator.get_state(), state)  # nothing was drawn from it


def test_tracing_gives_torch_its_lists_and_kernels_back():
    def made():
        with torch.autocast("cpu", torch.bfloat16):
            half = torch.ones(2, 2) @ torch.ones(2, 2)
            return half.dtype, half.exp().dtype, torch.cat([half, torch.ones(2, 2)]).dtype, F.rms_norm(half, (2,)).dtype

    before = made()
    _made(torch.exp)
    assert made() == before
    assert not torch.is_autocast_enabled("cuda")
