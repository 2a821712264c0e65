"""The claims of a config's comments beside the truth: those that people are given, and honest ones."""

import time

import pytest

import fwplan

C1 = "n_layer = 12\nn_head = 12\nn_embd = 384\nbatch_size = 16\ngradient_accumulation_steps = 32\nmax_iters = 20000\n"
C2 = C1.replace("384", "512").replace("n_head = 12", "n_head = 8")
C3 = C1.replace("384", "576")
C3_12 = C3.replace("batch_size = 16", "batch_size = 12").replace("steps = 32", "steps = 40")
C4 = "n_layer = 10\nn_head = 10\nn_embd = 640\nbatch_size = 32\ngradient_accumulation_steps = 16\nmax_iters = 50000\n"
C5 = C4.replace("10\n", "12\n").replace("640", "768")
C6 = C4.replace("10\n", "6\n").replace("640", "384")
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
        (C5, "GPT-2 medium: 350M parameters", [("parameters", "350 M", WRONG)]),
        (C5, "GPT-2 (124M)", [("parameters", "124 M", RIGHT)]),
        (C5 + EAGER, "33.9 GB, fits 48 GB", [("memory", "33.9 GB", RIGHT), ("card", "fits 48 GB", RIGHT)]),
        (C6 + EAGER, "84M parameters, 7-8 GB", [("parameters", "84.0 M", WRONG), ("memory", "7-8 GB", WRONG)]),
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


def test_a_file_full_of_claims_is_quick(claims):
    start = time.perf_counter()
    assert len(claims(C1 + "# 125M parameters, fits 12 GB, 1-2 GB\n" * 1000 + "# " + "9" * 20_000)) <= 25
    assert time.perf_counter() - start < 3
