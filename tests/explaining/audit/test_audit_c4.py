"""C4: 10 layers, 10 heads, width 640, micro-batch 32, accumulation 16, 50,000 steps."""

import pytest

RIGHT, WRONG = True, False
CONFIG = """\
n_layer = 10
n_head = 10
n_embd = 640
batch_size = 32
gradient_accumulation_steps = 16
max_iters = 50000
"""
EAGER = CONFIG + "compile = False\n"
CLAIMS = [
    (
        EAGER,
        None,
        "160M model, 20-22 GB",
        [("parameters", "160 M", "82.0 M", WRONG), ("memory", "20-22 GB", "26.98 GiB live, up to 35.13 GiB", WRONG)],
    ),
    (EAGER, None, "160 M parameters", [("parameters", "160 M", "82.0 M", WRONG)]),
    (
        EAGER,
        None,
        "82M parameters, 30 GB",
        [("parameters", "82.0 M", "82.0 M", RIGHT), ("memory", "30 GB", "26.98 GiB live, up to 35.13 GiB", RIGHT)],
    ),
    (
        EAGER,
        None,
        "20-22 GB, fits 24 GB",
        [
            ("memory", "20-22 GB", "26.98 GiB live, up to 35.13 GiB", WRONG),
            ("card", "fits 24 GB", "does not fit", WRONG),
        ],
    ),
    (EAGER, None, "50,000 steps: 83 B tokens", [("tokens", "83.0 B", "26.2 B", WRONG)]),
    (EAGER, None, "83B tokens", [("tokens", "83.0 B", "26.2 B", WRONG)]),
    (EAGER, None, "26.2 B tokens", [("tokens", "26.2 B", "26.2 B", RIGHT)]),
    (EAGER, None, "train on at least 50 B tokens", [("tokens needed", "50.0 B", "1.64 B is compute-optimal", WRONG)]),
    (
        EAGER,
        None,
        "160M: needs at least 3.2B tokens",
        [("tokens needed", "3.20 B", "1.64 B is compute-optimal", RIGHT)],
    ),
    (EAGER, None, "a 0.16B model", [("parameters", "160 M", "82.0 M", WRONG)]),
    (CONFIG, None, "17.4 GB peak", [("memory", "17.4 GB", "17.77 GiB live, up to 25.50 GiB", RIGHT)]),
]


@pytest.mark.parametrize(("config", "gpu", "comment", "expected"), CLAIMS, ids=[case[2] for case in CLAIMS])
def test_what_is_said_of_c4(claims, config, gpu, comment, expected):
    assert claims(comment, config, gpu) == expected
