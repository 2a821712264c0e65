"""C2: 12 layers, width 512, micro-batch 16; 12 heads do not divide it, so 8."""

import pytest

RIGHT, WRONG = True, False
CONFIG = """\
n_layer = 12
n_head = 8
n_embd = 512
batch_size = 16
gradient_accumulation_steps = 32
max_iters = 20000
"""
EAGER = CONFIG + "compile = False\n"
CLAIMS = [
    (
        EAGER,
        None,
        "125M parameters, 9-10 GB",
        [("parameters", "125 M", "64.0 M", WRONG), ("memory", "9-10 GB", "13.73 GiB live, up to 18.20 GiB", WRONG)],
    ),
    (EAGER, None, "125 million params", [("parameters", "125 M", "64.0 M", WRONG)]),
    (EAGER, None, "model size: 125M", [("parameters", "125 M", "64.0 M", WRONG)]),
    (EAGER, None, "params = 125M", [("parameters", "125 M", "64.0 M", WRONG)]),
    (
        EAGER,
        None,
        "64M parameters, 15.3 GB",
        [("parameters", "64.0 M", "64.0 M", RIGHT), ("memory", "15.3 GB", "13.73 GiB live, up to 18.20 GiB", RIGHT)],
    ),
    (
        EAGER,
        None,
        "peak 9-10 GB, safe on 12 GB",
        [
            ("memory", "9-10 GB", "13.73 GiB live, up to 18.20 GiB", WRONG),
            ("card", "fits 12 GB", "does not fit", WRONG),
        ],
    ),
    (EAGER, None, "GPT-2 small", [("model", "GPT-2 small", "12L 8H 512d; small is 12L 12H 768d", WRONG)]),
    (EAGER, None, "524,288 tokens per step", [("tokens a step", "524 k", "524 k", RIGHT)]),
    (CONFIG, "RTX 4070", "1-2 iterations a second", [("step time", "1-2 it/second", "5.4-13 s", WRONG)]),
    (CONFIG, "RTX 4070", "1-2 it/s", [("step time", "1-2 it/s", "5.4-13 s", WRONG)]),
    (CONFIG, "RTX 4070", "4-5 s per step", [("step time", "4-5 s", "5.4-13 s", WRONG)]),
    (CONFIG, "RTX 4070", "12 s/it", [("step time", "12 s", "5.4-13 s", RIGHT)]),
    (CONFIG, None, "1-2 it/s on RTX 4070", [("step time", "1-2 it/s", "5.4-13 s", WRONG)]),
    (CONFIG, None, "1-2 it/s", []),
]


@pytest.mark.parametrize(("config", "gpu", "comment", "expected"), CLAIMS, ids=[case[2] for case in CLAIMS])
def test_what_is_said_of_c2(claims, config, gpu, comment, expected):
    assert claims(comment, config, gpu) == expected
