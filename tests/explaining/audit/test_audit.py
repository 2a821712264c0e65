"""The claims of a config's comments beside the truth: those that people are given, and honest ones."""

import time
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fwplan
from fwplan.explaining.audit import audit

C1 = "n_layer = 12\nn_head = 12\nn_embd = 384\nbatch_size = 16\ngradient_accumulation_steps = 32\nmax_iters = 20000\n"
C2 = C1.replace("384", "512").replace("n_head = 12", "n_head = 8")
C3 = C1.replace("384", "576")
C3_12 = C3.replace("batch_size = 16", "batch_size = 12").replace("steps = 32", "steps = 40")
C4 = "n_layer = 10\nn_head = 10\nn_embd = 640\nbatch_size = 32\ngradient_accumulation_steps = 16\nmax_iters = 50000\n"
C5 = C4.replace("10\n", "12\n").replace("640", "768")
C6 = C4.replace("10\n", "6\n").replace("640", "384")
WIDE = C1.replace("384", "672")  # the 48 GB row
NARROW = C1.replace("12\n", "8\n").replace("384", "512")  # the 16-20 GB row
EAGER = "compile = False\n"
WRONG, RIGHT = False, True


@pytest.fixture
def claims(tmp_path):
    def claims(text):
        config = tmp_path / "config.py"
        config.write_text(text, encoding="utf-8")
        found = fwplan.explain(config)
        assert found.as_dict()["claims"] == [claim.as_dict() for claim in found.claims]
        return [(claim.topic, claim.claimed, claim.right) for claim in found.claims]

    return claims


@pytest.mark.parametrize(
    ("config", "comment", "expected"),
    [
        (C1, "40.56M parameters", [("parameters", "40.6 M", RIGHT)]),
        (
            C1,
            "524,288 tokens per step, 10.486B tokens",
            [("tokens a step", "524 k", RIGHT), ("tokens", "10.5 B", RIGHT)],
        ),
        (C1 + EAGER, "10-11 GB peak, safe on 12 GB", [("memory", "10-11 GB", WRONG), ("card", "fits 12 GB", WRONG)]),
        (C2 + EAGER, "125M params, 9-10 GB", [("parameters", "125 M", WRONG), ("memory", "9-10 GB", WRONG)]),
        (C3, "fits 12 GB", [("card", "fits 12 GB", WRONG)]),
        (C3_12 + EAGER, "100% success, 9.8 GB", [("memory", "9.8 GB", WRONG)]),
        (C4 + EAGER, "160M model, 20-22 GB", [("parameters", "160 M", WRONG), ("memory", "20-22 GB", WRONG)]),
        (C4, "trains on 83B tokens", [("tokens", "83.0 B", WRONG)]),
        (C4, "trains on 26.2B tokens", [("tokens", "26.2 B", RIGHT)]),
        (C5, "GPT-2 medium: 350M", [("model", "GPT-2 medium", WRONG), ("parameters", "350 M", WRONG)]),
        (C5, "GPT-2 (124M)", [("parameters", "124 M", RIGHT)]),
        (C5 + EAGER, "33.9 GB, fits 48 GB", [("memory", "33.9 GB", RIGHT), ("card", "fits 48 GB", RIGHT)]),
        (C6 + EAGER, "84M parameters, 7-8 GB", [("parameters", "84.0 M", WRONG), ("memory", "7-8 GB", WRONG)]),
        (WIDE, "250-300M parameters", [("parameters", "250-300 M", WRONG)]),
        (WIDE, "98.8M parameters", [("parameters", "98.8 M", RIGHT)]),
        (NARROW, "125M parameters", [("parameters", "125 M", WRONG)]),
        (NARROW, "50.9M parameters", [("parameters", "50.9 M", RIGHT)]),
        (C1, "this makes total number of tokens be 300B", [("tokens", "300 B", WRONG)]),
        (C1, "16 sequences of 1024 tokens, 3.1 GB parquet file, 12 heads", []),
    ],
)
def test_a_claim_stands_beside_the_truth(claims, config, comment, expected):
    assert claims(f"# {comment}\n{config}") == expected
    assert claims(f"{config}note = '# {comment}'\n") == []


def test_only_python_files_have_comments(tmp_path):
    spec = tmp_path / "spec.json"
    spec.write_text('{"model": {"n_layer": 2, "n_head": 2, "n_embd": 64}, "train": {"micro_batch_size": 1}}')
    assert fwplan.explain(spec).claims == ()


SLOW = (
    "# " + "9" * 60_000,
    "# " + "1,111," * 10_000,
    "# " + "batch " * 10_000,
    "# " + "batch * " * 7000,
    "# on a RTX 4070 " * 4000,
    "# " + "fits RTX 4070, " * 4000,
    "".join(f"# 5 h on RTX {n}\n" for n in range(1000, 4500)),
    "# 125M parameters, fits 12 GB, 1-2 GB\n" * 1500,
    "# 5 h on RTX 4070\n# 3 h in total\n" * 1800,
    "# (1, 2, 3) bf16 " * 3000,
    "# 1 epoch of " * 4000,
    "# lower " * 7000,
    "# 5 s a step, GPT-2 medium, 2.5e15 FLOPs\n" * 1400,
)


@pytest.mark.parametrize("text", SLOW, ids=range(len(SLOW)))
def test_no_file_takes_long(tmp_path, text):
    config = tmp_path / "config.py"
    config.write_text(f"{C1}{text}"[: 64 * 1024], encoding="utf-8")
    loaded, found = fwplan.load_config(config), fwplan.explain(tmp_path / "config.py", gpu="RTX 4070").estimate
    start = time.process_time()
    claims = audit(loaded, found, [])
    assert time.process_time() - start < 10  # what grows faster than its input takes minutes
    assert len(claims) <= 25


PIECES = [
    "125", "-", "300", "M", " B", " parameters", " tokens", " per step", " a step", "GPT-2 ", "medium", " GB", "fits ",
    "RTX 4070", " h", " on ", "takes ", "it/s", "e18", " FLOPs", " epochs", " of ", "batch ", " = ", "*", ", ", "(",
    "1,024", "0.5", "compile=False", " OOM", "FineWeb parquet", "\u2013", "\u00d7", "beats ", "lower accum",
]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=30))
@settings(max_examples=200, deadline=timedelta(seconds=1), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_comment_is_audited(base, pieces):
    loaded, found = base
    comment = " ".join("".join(pieces).splitlines()).replace("\0", "")
    for claim in audit(replace(loaded, source=f"# {comment}\n{C1}"), found, []):
        assert claim.claimed
        assert claim.truth
        assert claim.line == 1


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    path = tmp_path_factory.mktemp("audit") / "config.py"
    path.write_text(C1, encoding="utf-8")
    return fwplan.load_config(path), fwplan.explain(path, gpu="RTX 4070").estimate
