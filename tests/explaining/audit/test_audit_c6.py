"""C6: 6 layers, 6 heads, width 384, micro-batch 32."""

import pytest

RIGHT, WRONG = True, False
CONFIG = """\
n_layer = 6
n_head = 6
n_embd = 384
batch_size = 32
gradient_accumulation_steps = 16
max_iters = 20000
"""
EAGER = CONFIG + "compile = False\n"
CLAIMS = [
    (
        EAGER,
        None,
        "84M parameters, 7-8 GB",
        [("parameters", "84.0 M", "30.3 M", WRONG), ("memory", "7-8 GB", "21.56 GiB live, up to 28.20 GiB", WRONG)],
    ),
    (EAGER, None, "84 M params", [("parameters", "84.0 M", "30.3 M", WRONG)]),
    (
        EAGER,
        None,
        "30.3M parameters, 24.5 GB",
        [("parameters", "30.3 M", "30.3 M", RIGHT), ("memory", "24.5 GB", "21.56 GiB live, up to 28.20 GiB", RIGHT)],
    ),
    (
        EAGER,
        None,
        "7-8 GB, fits 8 GB",
        [("memory", "7-8 GB", "21.56 GiB live, up to 28.20 GiB", WRONG), ("card", "fits 8 GB", "does not fit", WRONG)],
    ),
    (CONFIG, None, "84M model", [("parameters", "84.0 M", "30.3 M", WRONG)]),
    (CONFIG, None, "7-8 GB", [("memory", "7-8 GB", "12.34 GiB live, up to 17.92 GiB", WRONG)]),
]


@pytest.mark.parametrize(("config", "gpu", "comment", "expected"), CLAIMS, ids=[case[2] for case in CLAIMS])
def test_what_is_said_of_c6(claims, config, gpu, comment, expected):
    assert claims(comment, config, gpu) == expected
