"""Comments that claim nothing of the run, and those of nanoGPT and build-nanogpt: a claim nobody made is worse."""

import pytest

import fwplan

RIGHT, WRONG = True, False
C1 = "n_layer = 12\nn_head = 12\nn_embd = 384\nbatch_size = 16\ngradient_accumulation_steps = 32\nmax_iters = 20000\n"
GPT2 = "batch_size = 12\nblock_size = 1024\ngradient_accumulation_steps = 5 * 8\nmax_iters = 600000\n"
INNOCENTS = [
    # the machine
    "keep 10 GB for the OS",
    "leaves 2 GB free",
    "RTX 4070 12GB, 32 GB RAM",
    "my card: RTX 3060 (12 GB)",
    "host has 64 GB",
    "needs 16 GB of system memory",
    "swap 16 GB",
    "bandwidth 504 GB/s",
    "RTX 4070 peaks at 58 TFLOPs in bf16",
    "4070 does 29 TFLOPS",
    "H100 80GB: 989 TFLOPS",
    "torch 2.5.1, CUDA 12.4, python 3.11",
    "4x faster than eager",
    # batches, contexts, vocabularies
    "batch 12 * 1024 tokens",
    "12 sequences of 1024 tokens",
    "micro-batch of 16,384 tokens",
    "10k tokens of context",
    "context window 1024, 16k later",
    "vocab 50,257 tokens",
    "number of tokens: 50,000 BPE merges + 256 bytes tokens + 1 <|endoftext|> token",
    "defaulting to vocab_size of GPT-2 to 50304 (50257 rounded up for efficiency)",
    "n_layer=24, n_head=16, n_embd=1024",
    "12L 12H 384d",
    "38.6M params are the embedding",
    "20 tokens per parameter",
    # data
    "dataset is 54 GB on disk",
    "WebText is 40 GB of text",
    "OpenWebText has 9B tokens",
    "FineWeb sample-10BT",
    "fineweb 10B tokens",
    "see https://huggingface.co/datasets/HuggingFaceFW/fineweb 15T tokens",
    "shakespeare has 301,966 tokens, so 1 epoch ~= 9.2 iters",
    "first 100M tokens are warm-up",
    # other models
    "learning rate 6e-4 for 125M models, GPT-3 table 2.1",
    "lr 3e-4 (350M model in the GPT-3 paper)",
    "smaller than GPT-2 medium",
    "half of GPT-2 small",
    "unlike the 350M model, fits",
    "gpt2-medium uses 350M",
    "GPT-3 (175B)",
    "Llama 2 7B model",
    "baby GPT model :)",
    "e.g. in GPT-2 (124M), n_head=12, hs=64, so nh*hs=C=768 channels in the Transformer",
    # times and steps
    "checkpoint every 2 hours",
    "evaluates in 5 min",
    "wait 10 minutes for compile",
    "about 1 h per epoch",
    "timeout 2 h",
    "updated 3 days ago",
    "20k tokens per second on my card",
    "takes ~5 days on 8x A100 40GB",
    "warmup 2000 steps",
    "eval every 3 epochs",
    "one epoch = 7000 steps",
    "max 1 epoch",
    "should be ~= max_iters per Chinchilla",
    # the rest
    "2024-05-12: first version",
    "v1.2.3-124M",
    "https://github.com/karpathy/nanoGPT/issues/124",
    "cosine decay to 10%",
    "seed 1337",
    "make a bit bigger because number of tokens per iter is small",
    "compile = False, faster start-up",
    "compile off: needs more memory",
    "lower accumulation for speed",
    "lower gradient accumulation does not save memory",
    "on macbook also add",
]
SAID = [
    ("config for training GPT-2 (124M) down to very nice loss of ~2.85 on 1 node of 8X A100 40GB",
     [("parameters", "124 M", "124 M", RIGHT)]),
    ("these make the total batch size be ~0.5M", [("tokens a step", "500 k", "492 k", RIGHT)]),
    ("12 batch size * 1024 block size * 5 gradaccum * 8 GPUs = 491,520", [("tokens a step", "492 k", "492 k", RIGHT)]),
    ("this makes total number of tokens be 300B", [("tokens", "300 B", "295 B", RIGHT)]),
    ("default config values designed to train a gpt2 (124M) on OpenWebText",
     [("parameters", "124 M", "124 M", RIGHT)]),
    ("2**19, ~0.5M, in number of tokens", [("tokens a step", "500 k", "492 k", RIGHT)]),
    ("19,073 steps is ~1 epoch, if data is 10B tokens and batch size 0.5M tokens",
     [("tokens a step", "500 k", "492 k", RIGHT), ("epochs", "1 epoch", "0.94 of 10.0 B tokens", RIGHT)]),
    ("1 batch_size * 32 grad_accum * 1024 tokens = 32,768 tokens/iter", [("tokens a step", "32.8 k", "492 k", WRONG)]),
]  # fmt: skip
BUILD_NANOGPT = """\
@dataclass
class GPTConfig:
    block_size: int = 1024 # max sequence length
    vocab_size: int = 50257 # number of tokens: 50,000 BPE merges + 256 bytes tokens + 1 <|endoftext|> token
    n_layer: int = 12 # number of layers
    n_head: int = 12 # number of heads
    n_embd: int = 768 # embedding dimension
def f():
    return {
        'gpt2':         dict(n_layer=12, n_head=12, n_embd=768),  # 124M params
        'gpt2-medium':  dict(n_layer=24, n_head=16, n_embd=1024), # 350M params
        'gpt2-xl':      dict(n_layer=48, n_head=25, n_embd=1600), # 1558M params
    }
total_batch_size = 524288 # 2**19, ~0.5M, in number of tokens
B = 16 # micro batch size
T = 1024 # sequence length
max_steps = 19073 # 19,073 steps is ~1 epoch, if data is 10B tokens and batch size 0.5M tokens
model = GPT(GPTConfig(vocab_size=50304))
from model import GPT
"""
TRAIN_GPT2 = f"""\
# config for training GPT-2 (124M) down to very nice loss of ~2.85 on 1 node of 8X A100 40GB
# launch as the following (e.g. in a screen session) and wait ~5 days:
# $ torchrun --standalone --nproc_per_node=8 train.py config/train_gpt2.py
{GPT2}"""


def test_there_are_enough_of_them():
    assert len(INNOCENTS) >= 40
    assert len(set(INNOCENTS)) == len(INNOCENTS)


@pytest.mark.parametrize("comment", INNOCENTS)
def test_an_innocent_comment_claims_nothing(claims, comment):
    assert claims(comment, C1, "RTX 4070") == []


@pytest.mark.parametrize(("comment", "expected"), SAID)
def test_what_nanogpt_and_build_nanogpt_say_of_gpt2(claims, comment, expected):
    assert claims(comment, GPT2, "RTX 4070") == expected


def test_the_largest_gpt2_is_itself(claims):
    config = "init_from = 'gpt2-xl'\nbatch_size = 1\n"
    assert claims("this is the largest GPT-2 model", config) == [("model", "GPT-2 xl", "GPT-2 xl", RIGHT)]


def test_days_on_eight_cards_are_not_held_against_one(tmp_path):
    (tmp_path / "train_gpt2.py").write_text(TRAIN_GPT2, encoding="utf-8")
    found = fwplan.explain(tmp_path / "train_gpt2.py", gpu="RTX 4070")
    assert [claim.topic for claim in found.claims] == ["parameters"]


def test_a_comment_in_a_block_is_about_that_block(tmp_path):
    (tmp_path / "train_gpt2.py").write_text(BUILD_NANOGPT, encoding="utf-8")
    found = fwplan.explain(tmp_path / "train_gpt2.py", gpu="RTX 4070")
    assert [(claim.line, claim.topic, claim.right) for claim in found.claims] == [
        (14, "tokens a step", RIGHT),
        (17, "tokens a step", RIGHT),
        (17, "epochs", RIGHT),
    ]
