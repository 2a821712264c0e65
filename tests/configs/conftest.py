"""A nanoGPT checkout to put configs into: its train.py and model.py, as short as they can be read."""

import pytest

TRAIN = """\
import os
import torch
from model import GPTConfig, GPT
init_from = 'scratch'
dataset = 'openwebtext'
gradient_accumulation_steps = 5 * 8
batch_size = 12
block_size = 1024
n_layer = 12
n_head = 12
n_embd = 768
dropout = 0.0
bias = False
learning_rate = 6e-4
max_iters = 600000
device = 'cuda'
dtype = 'bfloat16' if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else 'float16'
compile = True
config_keys = [k for k, v in globals().items() if isinstance(v, (int, float, bool, str))]
exec(open('configurator.py').read())
meta_vocab_size = None
meta_path = os.path.join('data', dataset, 'meta.pkl')
model_args = dict(n_layer=n_layer, n_head=n_head, n_embd=n_embd, block_size=block_size, bias=bias, vocab_size=None)
if init_from == 'scratch':
    model_args['vocab_size'] = meta_vocab_size if meta_vocab_size is not None else 50304
    model = GPT(GPTConfig(**model_args))
elif init_from.startswith('gpt2'):
    model = GPT.from_pretrained(init_from)
optimizer = model.configure_optimizers()
if compile:
    model = torch.compile(model)
while True:
    logits, loss = model(X, Y)
    loss.backward()
"""
MODEL = """\
class CausalSelfAttention(nn.Module):
    def __init__(self, config):
        self.c_attn = nn.Linear(config.n_embd, 3 * config.n_embd, bias=config.bias)
        self.c_proj = nn.Linear(config.n_embd, config.n_embd, bias=config.bias)
    def forward(self, x):
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
class MLP(nn.Module):
    def __init__(self, config):
        self.c_fc = nn.Linear(config.n_embd, 4 * config.n_embd, bias=config.bias)
        self.gelu = nn.GELU()
        self.c_proj = nn.Linear(4 * config.n_embd, config.n_embd, bias=config.bias)
class Block(nn.Module):
    def __init__(self, config):
        self.attn = CausalSelfAttention(config)
        self.mlp = MLP(config)
@dataclass
class GPTConfig:
    block_size: int = 1024
    vocab_size: int = 50304
    n_layer: int = 12
    n_head: int = 12
    n_embd: int = 768
    dropout: float = 0.0
    bias: bool = True
class GPT(nn.Module):
    def __init__(self, config):
        self.transformer = nn.ModuleDict(dict(wte=nn.Embedding(1, 1), wpe=nn.Embedding(1, 1), ln_f=LayerNorm(1)))
        self.h = nn.ModuleList([Block(config) for _ in range(config.n_layer)])
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self.transformer.wte.weight = self.lm_head.weight
"""


@pytest.fixture
def checkout(tmp_path):
    """Return a function that puts files beside train.py and model.py, changed as asked, and returns the folder."""

    def put(files, train=None, model=None):
        changed = {"train.py": _changed(TRAIN, train or {}), "model.py": _changed(MODEL, model or {})}
        for name, text in (changed | files).items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return tmp_path

    return put


def _changed(text, changes):
    for before, after in changes.items():
        assert before in text, before
        text = text.replace(before, after)
    return text
