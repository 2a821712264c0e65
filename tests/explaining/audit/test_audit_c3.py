"""C3: 12 layers, 12 heads, width 576, micro-batch 16, compiled; and its advised rescue at 12."""

import pytest

RIGHT, WRONG = True, False
CONFIG = """\
n_layer = 12
n_head = 12
n_embd = 576
batch_size = 16
gradient_accumulation_steps = 32
max_iters = 20000
"""
RESCUE = CONFIG.replace("= 16\n", "= 12\n").replace("= 32\n", "= 40\n") + "compile = False\ndtype = 'float16'\n"
CLAIMS = [
    (
        CONFIG,
        None,
        "OOM on 12 GB because of compile",
        [
            ("card", "not on 12 GB", "may fit, not safely", RIGHT),
            ("compile", "off saves", "14.38 GiB live eager, 9.78 GiB compiled", WRONG),
        ],
    ),
    (
        CONFIG,
        None,
        "compile=False saves memory",
        [("compile", "off saves", "14.38 GiB live eager, 9.78 GiB compiled", WRONG)],
    ),
    (
        CONFIG,
        None,
        "on OOM turn off torch.compile",
        [("compile", "off saves", "14.38 GiB live eager, 9.78 GiB compiled", WRONG)],
    ),
    (
        CONFIG,
        None,
        "the buffer (16, 1024, 50304) in bf16 is 1.54 GB",
        [("tensor", "1.54 GB", "1.54 GiB for (16, 1024, 50304)", RIGHT)],
    ),
    (
        CONFIG,
        None,
        "(16, 1024, 50304) in fp32: 1.54 GB",
        [("tensor", "1.54 GB", "3.07 GiB for (16, 1024, 50304)", WRONG)],
    ),
    (CONFIG, None, "77M parameters", [("parameters", "77.0 M", "77.4 M", RIGHT)]),
    (
        CONFIG,
        None,
        "125M params, fits 12 GB",
        [("parameters", "125 M", "77.4 M", WRONG), ("card", "fits 12 GB", "may fit, not safely", WRONG)],
    ),
    (CONFIG, None, "fits 24 GB", [("card", "fits 24 GB", "fits", RIGHT)]),
    (RESCUE, None, "100 % success, 9.8 GB", [("memory", "9.8 GB", "11.12 GiB live, up to 14.86 GiB", WRONG)]),
    (
        RESCUE,
        None,
        "9.8 GB peak, fits RTX 4070",
        [
            ("card", "fits GeForce RTX 4070", "does not fit", WRONG),
            ("memory", "9.8 GB", "11.12 GiB live, up to 14.86 GiB", WRONG),
        ],
    ),
    (RESCUE, None, "accum 40 gives 491,520 tokens a step", [("tokens a step", "492 k", "492 k", RIGHT)]),
    (RESCUE, None, "524,288 tokens a step", [("tokens a step", "524 k", "492 k", WRONG)]),
    (
        RESCUE,
        None,
        "12 batch size * 1024 block size * 40 gradaccum = 491,520",
        [("tokens a step", "492 k", "492 k", RIGHT)],
    ),
    (
        RESCUE,
        None,
        "fp16 saves memory over bf16",
        [("dtype", "fp16 saves", "fp16 and bf16 take the same bytes", WRONG)],
    ),
    (
        RESCUE,
        None,
        "float16 takes less memory than bfloat16",
        [("dtype", "fp16 saves", "fp16 and bf16 take the same bytes", WRONG)],
    ),
]


@pytest.mark.parametrize(("config", "gpu", "comment", "expected"), CLAIMS, ids=[case[2] for case in CLAIMS])
def test_what_is_said_of_c3(claims, config, gpu, comment, expected):
    assert claims(comment, config, gpu) == expected
