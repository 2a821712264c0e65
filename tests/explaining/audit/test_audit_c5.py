"""C5: 12 layers, 12 heads, width 768, micro-batch 32: GPT-2 small, said to be medium."""

import pytest

RIGHT, WRONG = True, False
CONFIG = """\
n_layer = 12
n_head = 12
n_embd = 768
batch_size = 32
gradient_accumulation_steps = 16
max_iters = 50000
"""
EAGER = CONFIG + "compile = False\n"
CLAIMS = [
    (
        EAGER,
        None,
        "350M parameters (GPT-2 medium)",
        [
            ("model", "GPT-2 medium", "GPT-2 small; medium is 24L 16H 1024d", WRONG),
            ("parameters", "350 M", "124 M", WRONG),
        ],
    ),
    (
        EAGER,
        None,
        "350M (GPT-2 medium)",
        [
            ("model", "GPT-2 medium", "GPT-2 small; medium is 24L 16H 1024d", WRONG),
            ("parameters", "350 M", "124 M", WRONG),
        ],
    ),
    (EAGER, None, "GPT-2 medium", [("model", "GPT-2 medium", "GPT-2 small; medium is 24L 16H 1024d", WRONG)]),
    (
        EAGER,
        None,
        "gpt2-medium 350M",
        [
            ("model", "GPT-2 medium", "GPT-2 small; medium is 24L 16H 1024d", WRONG),
            ("parameters", "350 M", "124 M", WRONG),
        ],
    ),
    (
        EAGER,
        None,
        "GPT-2 small/124M",
        [("model", "GPT-2 small", "GPT-2 small", RIGHT), ("parameters", "124 M", "124 M", RIGHT)],
    ),
    (
        EAGER,
        None,
        "GPT-2 small (124M)",
        [("model", "GPT-2 small", "GPT-2 small", RIGHT), ("parameters", "124 M", "124 M", RIGHT)],
    ),
    (EAGER, None, "GPT-2 (124M)", [("parameters", "124 M", "124 M", RIGHT)]),
    (EAGER, None, "124M GPT-2", [("parameters", "124 M", "124 M", RIGHT)]),
    (
        EAGER,
        None,
        "GPT-2 large: 774M parameters",
        [
            ("model", "GPT-2 large", "GPT-2 small; large is 36L 20H 1280d", WRONG),
            ("parameters", "774 M", "124 M", WRONG),
        ],
    ),
    (EAGER, None, "the largest GPT-2", [("model", "GPT-2 xl", "GPT-2 small; xl is 48L 25H 1600d", WRONG)]),
    (
        EAGER,
        None,
        "33.9 GB, fits 48 GB",
        [("memory", "33.9 GB", "30.81 GiB live, up to 40.02 GiB", RIGHT), ("card", "fits 48 GB", "fits", RIGHT)],
    ),
    (
        EAGER,
        None,
        "24 GB is enough: 22 GB peak",
        [
            ("memory", "24 GB", "30.81 GiB live, up to 40.02 GiB", WRONG),
            ("memory", "22 GB", "30.81 GiB live, up to 40.02 GiB", WRONG),
        ],
    ),
]


@pytest.mark.parametrize(("config", "gpu", "comment", "expected"), CLAIMS, ids=[case[2] for case in CLAIMS])
def test_what_is_said_of_c5(claims, config, gpu, comment, expected):
    assert claims(comment, config, gpu) == expected
