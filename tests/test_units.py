import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwplan.errors import ExitCode, FwplanError
from fwplan.units import GIB, KIB, MIB, duration, duration_range, flops, gib, parse_count, parse_gib, si


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("12", 12 * GIB), ("12GB", 12 * GIB), ("12 GiB", 12 * GIB), ("12g", 12 * GIB), ("0.5", GIB // 2),
        ("12282MiB", 12282 * MIB), ("1tb", 1024 * GIB), ("1,024m", GIB),
    ],
)  # fmt: skip
def test_memory_sizes(text, expected):
    assert parse_gib(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"), [("10e9", 10**10), ("10B", 10**10), ("3.5M", 3_500_000), ("1_000", 1000), (" 2 k", 2000)]
)
def test_counts(text, expected):
    assert parse_count(text) == expected


@pytest.mark.parametrize(
    "text", ["10e", "", "ten", "-5", "0", "nan", "inf", "1e400", "12 apples", "0x10", "--", "1e9e9"]
)
@pytest.mark.parametrize("parse", [parse_gib, parse_count])
def test_what_is_no_positive_number_is_refused_with_the_input_in_the_message(parse, text):
    with pytest.raises(FwplanError) as caught:
        parse(text)
    assert repr(text) in caught.value.message
    assert caught.value.hint
    assert caught.value.exit_code == ExitCode.USAGE


@given(st.integers(1, 2**50))
def test_an_integer_reads_back(value):
    assert parse_count(str(value)) == pytest.approx(value, rel=1e-15)


@given(st.floats(1, 1e14))
def test_si_keeps_three_digits(value):
    number, _, suffix = si(value).partition(" ")
    scale = {"": 1, "k": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}[suffix]
    assert float(number) * scale == pytest.approx(value, rel=0.006, abs=0.5)
    assert float(number) < 1000 or suffix == "T"


@pytest.mark.parametrize(
    ("value", "expected"), [(124_373_760, "124 M"), (10.486e9, "10.5 B"), (999_999, "1.00 M"), (640, "640"), (0, "0")]
)
def test_si_examples(value, expected):
    assert si(value) == expected


@given(st.floats(1e-4, 1e9))
def test_durations_are_within_their_rounding(seconds):
    number, unit = duration(seconds).split()
    scale = {"ms": 1e-3, "s": 1, "min": 60, "h": 3600, "d": 86400}[unit]
    assert float(number) * scale == pytest.approx(seconds, rel=0.06, abs=0.6e-4)


def test_a_range_shares_its_unit_where_it_can():
    assert duration_range(3.4 * 86400, 5.7 * 86400) == "3.4-5.7 d"
    assert duration_range(20 * 3600, 2.1 * 86400) == "20 h - 2.1 d"
    assert duration_range(60, 60.2) == "60 s"


def test_bytes_and_flops():
    assert gib(12e9) == "11.18 GiB"
    assert gib(50 * MIB) == "50.0 MiB"
    assert gib(0.1 * MIB) == "0.1 MiB"
    assert [gib(size) for size in (100 * KIB, 2560, 103, 102, 1, 0, -64 * KIB)] == [
        "100.0 KiB", "2.5 KiB", "0.1 KiB", "102 B", "1 B", "0 B", "-64.0 KiB"
    ]  # fmt: skip
    assert flops(2.552e18) == "2.55e18 FLOP"
    assert math.isclose(float(flops(3.146e18).split()[0]), 3.15e18)
