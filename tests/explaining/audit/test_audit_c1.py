"""C1: 12 layers, 12 heads, width 384, micro-batch 16, accumulation 32, 20,000 steps."""

import pytest

RIGHT, WRONG = True, False
CONFIG = """\
n_layer = 12
n_head = 12
n_embd = 384
batch_size = 16
gradient_accumulation_steps = 32
max_iters = 20000
"""
EAGER = CONFIG + "compile = False\n"
CLAIMS = [
    (CONFIG, None, "40.56M parameters", [("parameters", "40.6 M", "41.0 M", RIGHT)]),
    (CONFIG, None, "number of parameters: 40.56M", [("parameters", "40.6 M", "41.0 M", RIGHT)]),
    (CONFIG, None, "~41M params", [("parameters", "41.0 M", "41.0 M", RIGHT)]),
    (CONFIG, None, "40.56 M parameters without position embeddings", [("parameters", "40.6 M", "41.0 M", RIGHT)]),
    (CONFIG, None, "a 40.6M-parameter model", [("parameters", "40.6 M", "41.0 M", RIGHT)]),
    (CONFIG, None, "125M params", [("parameters", "125 M", "41.0 M", WRONG)]),
    (
        CONFIG,
        None,
        "524,288 tokens a step, 10.486 B in all, 2.85 epochs of 3.68 B",
        [("tokens a step", "524 k", "524 k", RIGHT), ("epochs", "2.85 epochs", "2.85 of 3.68 B tokens", RIGHT)],
    ),
    (CONFIG, None, "16 * 32 * 1024 = 524,288 tokens/iter", [("tokens a step", "524 k", "524 k", RIGHT)]),
    (CONFIG, None, "tokens per iteration will be: 524,288", [("tokens a step", "524 k", "524 k", RIGHT)]),
    (CONFIG, None, "0.5M tokens per step", [("tokens a step", "500 k", "524 k", RIGHT)]),
    (
        CONFIG,
        None,
        "16 batch size * 1024 block size * 32 gradaccum = 524,288",
        [("tokens a step", "524 k", "524 k", RIGHT)],
    ),
    (CONFIG, None, "effective batch size 512", [("batch", "512 rows", "512 sequences a step", RIGHT)]),
    (CONFIG, None, "total batch size be ~0.5M", [("tokens a step", "500 k", "524 k", RIGHT)]),
    (CONFIG, None, "10.486B tokens", [("tokens", "10.5 B", "10.5 B", RIGHT)]),
    (CONFIG, None, "trains on 10.5 B tokens", [("tokens", "10.5 B", "10.5 B", RIGHT)]),
    (CONFIG, None, "this makes total number of tokens be 300B", [("tokens", "300 B", "10.5 B", WRONG)]),
    (
        CONFIG,
        None,
        "10.486B tokens = 2.85 epochs of 3.68B tokens",
        [("tokens", "10.5 B", "10.5 B", RIGHT), ("epochs", "2.85 epochs", "2.85 of 3.68 B tokens", RIGHT)],
    ),
    (CONFIG, None, "2.85 epochs over 3.68B unique tokens", [("epochs", "2.85 epochs", "2.85 of 3.68 B tokens", RIGHT)]),
    (
        CONFIG,
        None,
        "20,000 steps are 3 epochs, the data is 3.68B tokens",
        [("epochs", "3 epochs", "2.85 of 3.68 B tokens", RIGHT)],
    ),
    (CONFIG, None, "2.85 epochs", []),
    (
        CONFIG,
        None,
        "2,550 PFLOPs (2.55e15 FLOPs)",
        [
            ("FLOPs", "2.55e18 FLOP", "3.15e18 FLOP, 2.55e18 by 6ND", RIGHT),
            ("FLOPs", "2.55e15 FLOP", "3.15e18 FLOP, 2.55e18 by 6ND", WRONG),
        ],
    ),
    (CONFIG, None, "total compute: 2.55e18 FLOPs", [("FLOPs", "2.55e18 FLOP", "3.15e18 FLOP, 2.55e18 by 6ND", RIGHT)]),
    (CONFIG, None, "3.15 exaFLOPs in total", [("FLOPs", "3.15e18 FLOP", "3.15e18 FLOP, 2.55e18 by 6ND", RIGHT)]),
    (CONFIG, None, "2.43e8 FLOPs per token", [("FLOPs a token", "2.43e8 FLOP", "3.00e8 FLOP, 2.43e8 by 6ND", RIGHT)]),
    (CONFIG, None, "1.57e14 FLOPs a step", [("FLOPs a step", "1.57e14 FLOP", "1.57e14 FLOP, 1.28e14 by 6ND", RIGHT)]),
    (CONFIG, None, "1.57e18 FLOPs a step", [("FLOPs a step", "1.57e18 FLOP", "1.57e14 FLOP, 1.28e14 by 6ND", WRONG)]),
    (
        CONFIG,
        None,
        "40M on 10.5B tokens beats GPT-2 124M",
        [("tokens", "10.5 B", "10.5 B", RIGHT), ("loss", "beats small", "3.53 nats, 3.18 of its shape", WRONG)],
    ),
    (CONFIG, None, "better than GPT-2 small", [("loss", "beats small", "3.53 nats, 3.18 of its shape", WRONG)]),
    (CONFIG, None, "outperforms GPT-2 medium", [("loss", "beats medium", "3.53 nats, 2.96 of its shape", WRONG)]),
    (
        CONFIG,
        None,
        "on OOM, lower gradient_accumulation_steps from 32 to 24",
        [("accumulation", "fewer saves", "does not change the peak", WRONG)],
    ),
    (
        CONFIG,
        None,
        "reduce grad accumulation to save memory",
        [("accumulation", "fewer saves", "does not change the peak", WRONG)],
    ),
    (
        CONFIG,
        None,
        "one FineWeb parquet file (~3.1 GB) holds 1-2B tokens",
        [("tokens a file", "1-2 B", "1.04 B", RIGHT)],
    ),
    (CONFIG, None, "one FineWeb parquet file: 1-2 B tokens", [("tokens a file", "1-2 B", "721 M", WRONG)]),
    (
        CONFIG,
        None,
        "6,000 steps of 524,288 tokens on 1.5B tokens = 2 epochs",
        [("tokens a step", "524 k", "524 k", RIGHT), ("epochs", "2 epochs", "2.10 of 1.50 B tokens", RIGHT)],
    ),
    (
        CONFIG,
        None,
        "6,000 steps are 2 epochs of the 3.1 GB FineWeb parquet file, 1.5B tokens",
        [("tokens a file", "1.50 B", "1.04 B", WRONG), ("epochs", "2 epochs", "3.02 of 1.04 B tokens", WRONG)],
    ),
    (CONFIG, None, "8L 8H 512d, 125M parameters", [("parameters", "125 M", "41.0 M", WRONG)]),
    (CONFIG, None, "250-300M parameters", [("parameters", "250-300 M", "41.0 M", WRONG)]),
    (
        EAGER,
        None,
        "10-11 GB peak, safe on 12 GB",
        [
            ("memory", "10-11 GB", "12.49 GiB live, up to 16.62 GiB", WRONG),
            ("card", "fits 12 GB", "does not fit", WRONG),
        ],
    ),
    (EAGER, None, "peak ~10-11GB", [("memory", "10-11 GB", "12.49 GiB live, up to 16.62 GiB", WRONG)]),
    (EAGER, None, "10 to 11 GB of VRAM", [("memory", "10-11 GB", "12.49 GiB live, up to 16.62 GiB", WRONG)]),
    (EAGER, None, "fits RTX 4070", [("card", "fits GeForce RTX 4070", "does not fit", WRONG)]),
    (EAGER, None, "runs fine on an RTX 3060 12GB", [("card", "fits GeForce RTX 3060 12GB", "does not fit", WRONG)]),
    (EAGER, None, "safe on any 12 GB card", [("card", "fits 12 GB", "does not fit", WRONG)]),
    (EAGER, None, "fits 24 GB", [("card", "fits 24 GB", "fits", RIGHT)]),
    (EAGER, None, "OOM on 12 GB", [("card", "not on 12 GB", "does not fit", RIGHT)]),
    (EAGER, None, "does not fit in 12 GB", [("card", "not on 12 GB", "does not fit", RIGHT)]),
    (EAGER, None, "OOMs on a 4090", [("card", "not on GeForce RTX 4090", "fits", WRONG)]),
    (
        CONFIG,
        "RTX 4070",
        "2.5-4.5 s a step, 15-20 h on RTX 4070",
        [("step time", "2.5-4.5 s", "3.8-9.0 s", RIGHT), ("run time", "15-20 h", "21 h - 2.1 d", WRONG)],
    ),
    (CONFIG, "RTX 4070", "training takes 15-20 hours", [("run time", "15-20 hours", "21 h - 2.1 d", WRONG)]),
    (CONFIG, "RTX 4070", "takes 1.5 days", [("run time", "1.5 days", "21 h - 2.1 d", RIGHT)]),
    (CONFIG, "RTX 4070", "2.5-4.5 s/iter", [("step time", "2.5-4.5 s", "3.8-9.0 s", RIGHT)]),
    (CONFIG, "RTX 4070", "1-2 iterations a second", [("step time", "1-2 it/second", "3.8-9.0 s", WRONG)]),
    (CONFIG, "RTX 4070", "0.2 it/s", [("step time", "0.2 it/s", "3.8-9.0 s", RIGHT)]),
    (CONFIG, "RTX 4070", "100 ms per iteration", [("step time", "100 ms", "3.8-9.0 s", WRONG)]),
    (CONFIG, None, "~15-20 h on RTX 4070", [("run time", "15-20 h", "21 h - 2.1 d", WRONG)]),
    (CONFIG, None, "training takes 15-20 hours", []),
    (CONFIG, None, "30 h on RTX 4070", [("run time", "30 h", "21 h - 2.1 d", RIGHT)]),
    (CONFIG, None, "2.5-4.5 s a step", []),
    (CONFIG, None, "takes 1 day on 8x RTX 4090", []),
]


@pytest.mark.parametrize(("config", "gpu", "comment", "expected"), CLAIMS, ids=[case[2] for case in CLAIMS])
def test_what_is_said_of_c1(claims, config, gpu, comment, expected):
    assert claims(comment, config, gpu) == expected
