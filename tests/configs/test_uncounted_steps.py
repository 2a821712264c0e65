"""Steps that keep other tensors than is counted: blocks run again or checkpointed, another optimizer."""

import pytest

from fwplan.configs import load_config

FORWARD = "        self.transformer.wte.weight = self.lm_head.weight\n"
LOOP = "for block in self.transformer.h:\n    x = block(x)\n"
AGAIN, CHECKPOINTED, OPTIMIZER = "blocks that are run again", "blocks that are checkpointed", "another optimizer"


def _forward(body):
    lines = "".join(f"        {line}\n" for line in body.splitlines())
    return {FORWARD: f"{FORWARD}    def forward(self, x, targets=None):\n{lines}"}


def _refused(checkout, config="", **changes):
    folder = checkout({"config/x.py": f"n_layer = 6\n{config}"}, **changes)
    return [one.key for one in load_config(folder / "config/x.py").unknown]


@pytest.mark.parametrize(
    "body",
    [
        "for i in range(self.config.n_simulated_layer):\n    for block in self.transformer.h:\n        x = block(x)\n",
        LOOP + LOOP,
        "while more:\n    with torch.no_grad():\n        for i, b in enumerate(self.h):\n            x = b(x)\n",
        "for _ in range(2):\n    for block in self.h:\n        x = checkpoint(block, x)\n",
    ],
)
def test_blocks_that_are_run_again_are_refused(checkout, body):
    assert _refused(checkout, model=_forward(body)) == [AGAIN]


@pytest.mark.parametrize(
    "body",
    [
        LOOP,
        "if targets is None:\n    for block in self.h:\n        x = block(x)\n    return x\n" + LOOP,
        "if fast:\n    for b in self.h:\n        x = b(x)\nelse:\n    for b in self.h:\n        x = b(x)\n",
        LOOP + "for block in self.transformer.h:\n    block.attn.bias = None\n",
        "for layer in layers:\n    x = x + layer.weight\n" + LOOP,
    ],
)
def test_blocks_that_are_run_once_are_not(checkout, body):
    assert _refused(checkout, model=_forward(body)) == []


@pytest.mark.parametrize(
    ("how", "call"),
    [
        ("from torch.utils.checkpoint import checkpoint\n", "checkpoint(block, x, use_reentrant=False)"),
        ("from torch.utils.checkpoint import checkpoint as again\n", "again(block, x)"),
        ("from torch.utils import checkpoint\n", "checkpoint.checkpoint(block, x)"),
        ("import torch.utils.checkpoint as cp\n", "cp.checkpoint(block, x)"),
        ("import torch\n", "torch.utils.checkpoint.checkpoint(block, x)"),
    ],
)
def test_checkpointed_blocks_are_refused_unless_a_setting_says_that_they_are_not(checkout, how, call):
    body = f"for block in self.transformer.h:\n    x = {call} if self.gradient_checkpointing else block(x)\n"
    model = {"class CausalSelf": f"{how}class CausalSelf"} | _forward(body)
    assert _refused(checkout, model=model) == [CHECKPOINTED]
    assert _refused(checkout, "gradient_checkpointing = False\n", model=model) == []
    assert _refused(checkout, "gradient_checkpointing = True\n", model=model)[0] == "gradient_checkpointing = True"


def test_a_checkpoint_that_is_loaded_or_saved_is_none(checkout):
    train = {"while True:": "checkpoint = torch.load(path)\nsave_checkpoint(checkpoint)\nwhile True:"}
    assert _refused(checkout, train=train) == []


MAKES = "optimizer = model.configure_optimizers()"


@pytest.mark.parametrize(
    "made",
    [
        "optimizer = Lilith(model.parameters(), lr)",
        "optimizer = torch.optim.Adagrad(model.parameters())",
        f"{MAKES}\noptimizer_gdtuo = gdtuo.Meta(alpha=1e-3)",
        "self.opt = RMSprop(model.parameters())",
        "optimizer = torch.optim.AdamW(model.parameters(), amsgrad=True)",
        "optimizer = ZeroRedundancyOptimizer(model.parameters(), optimizer_class=Lilith)",
    ],
)
def test_another_optimizer_is_refused_wherever_it_is_made(checkout, made):
    assert _refused(checkout, train={MAKES: made}) == [OPTIMIZER]
    indented = "".join(f"        {line}\n" for line in made.splitlines())
    assert _refused(checkout, model={FORWARD: f"{FORWARD}    def configure(self, model, lr):\n{indented}"}) == [
        OPTIMIZER
    ]


@pytest.mark.parametrize(
    "made",
    [
        "optimizer = torch.optim.AdamW(groups, fused=True, amsgrad=False)",
        "optimizer = Adam(model.parameters())",
        "optimizer = ZeroRedundancyOptimizer(model.parameters(), optimizer_class=torch.optim.AdamW)",
        "optim_config = OptimizerConfig(lr=1e-3)\noptimizer = make(model)",
    ],
)
def test_what_is_counted_or_none_is_not_another_optimizer(checkout, made):
    assert _refused(checkout, train={MAKES: made}) == []


def test_what_deepspeed_runs_is_refused(checkout):
    cut = {"class CausalSelf": "engine = deepspeed.initialize\nclass CausalSelf"}
    assert _refused(checkout, model=cut) == ["weights or gradients cut up over processes"]
