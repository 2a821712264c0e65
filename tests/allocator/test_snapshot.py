import pickle
import pickletools

import pytest
from allocator_streams import MIB, stream, streams
from hypothesis import given

from fwplan.allocator.events import Event
from fwplan.allocator.replay import replay
from fwplan.allocator.settings import Settings
from fwplan.allocator.snapshot import snapshot, write_snapshot
from fwplan.errors import FwplanError

EVENTS = stream(("weight", 30 * MIB), ("x", 5 * MIB), ("y", 3), "x", ("z", 60 * MIB), "weight")
BOTH = [Settings(), Settings(expandable_segments=True)]


def _actions(document):
    return [entry["action"] for entry in document["device_traces"][0]]


def test_what_the_trace_says():
    assert _actions(snapshot(EVENTS)) == [
        *["segment_alloc", "alloc"] * 3,
        *["free_requested", "free_completed"],
        *["segment_alloc", "alloc"],
        *["free_requested", "free_completed"],
    ]
    weight = snapshot(EVENTS)["device_traces"][0][1]
    assert (weight["size"], weight["stream"], weight["frames"][0]["name"]) == (30 * MIB, 0, "weight")


def test_what_is_given_back_and_what_is_refused():
    document = snapshot(stream(("a", 60 * MIB), "a", ("b", 80 * MIB), ("c", 40 * MIB)), capacity=100 * MIB)
    assert _actions(document)[4:] == ["segment_free", "segment_alloc", "alloc", "oom"]
    oom = document["device_traces"][0][-1]
    assert (oom["size"], oom["device_free"], oom["frames"][0]["name"]) == (40 * MIB, 20 * MIB, "c")


def test_labels_stand_in_for_the_stack():
    events = [
        Event("allocate", 7, 5),
        Event("release", 7, 5),
        Event("allocate", 8, 5, "h"),
        Event("release", 8, 5, "d"),
    ]
    names = [entry["frames"][0]["name"] for entry in snapshot(events)["device_traces"][0]]
    assert names == ["tensor 7"] * 4 + ["h", "d", "d"]


@pytest.mark.parametrize("settings", BOTH)
@given(events=streams())
def test_trace_and_segments_agree(settings, events):
    """Play the trace, and get the segments: what MemoryViz does, backwards."""
    document = snapshot(events, settings=settings, capacity=200 * MIB)
    mapped, alive = 0, {}
    for entry in document["device_traces"][0]:
        match entry["action"]:
            case "segment_alloc" | "segment_map":
                mapped += entry["size"]
            case "segment_free" | "segment_unmap":
                mapped -= entry["size"]
            case "alloc":
                alive[entry["addr"]] = entry["size"]
            case "free_completed":
                assert alive.pop(entry["addr"]) == entry["size"]
    segments = document["segments"]
    assert (
        mapped
        == sum(s["total_size"] for s in segments)
        == replay(events, settings=settings, capacity=200 * MIB).reserved_bytes
    )
    used = [b for s in segments for b in s["blocks"] if b["state"] == "active_allocated"]
    assert alive == {block["address"]: block["requested_size"] for block in used}
    assert max((entry.get("addr", 0) for entry in document["device_traces"][0]), default=0) < 2**53


@pytest.mark.parametrize("settings", BOTH)
def test_pytorchs_own_viewer_opens_it(settings, tmp_path):
    viewer = pytest.importorskip("torch.cuda._memory_viz")
    path = tmp_path / "run.pickle"
    write_snapshot(path, EVENTS, settings=settings)
    assert list(tmp_path.iterdir()) == [path]
    document = pickle.loads(path.read_bytes())
    assert document == snapshot(EVENTS, settings=settings)
    found = replay(EVENTS, settings=settings)
    summary = viewer.segsum(document)
    assert f"total_reserved: {viewer.Bytes(found.reserved_bytes)}" in summary
    assert f"segments: {found.segments}" in summary
    assert "z" not in viewer.trace(document).splitlines()[0]
    assert viewer.trace(document).count("del ") == 2
    for plot in (viewer.trace_plot, viewer.segment_plot):
        assert "snapshot.pickle" in plot(document)


def test_the_browser_can_read_the_pickle(tmp_path):
    """MemoryViz.js reads protocols 2 to 4, and of their opcodes these among others."""
    write_snapshot(tmp_path / "run.pickle", EVENTS)
    opcodes = {code.name: argument for code, argument, _ in pickletools.genops((tmp_path / "run.pickle").read_bytes())}
    assert opcodes["PROTO"] == 4
    assert set(opcodes) <= {
        *["PROTO", "FRAME", "STOP", "MARK", "MEMOIZE", "BINGET", "LONG_BINGET"],
        *["EMPTY_DICT", "SETITEM", "SETITEMS", "EMPTY_LIST", "APPEND", "APPENDS", "EMPTY_TUPLE", "TUPLE2"],
        *["BININT", "BININT1", "BININT2", "LONG1", "SHORT_BINUNICODE", "BINUNICODE", "NEWTRUE", "NEWFALSE", "NONE"],
    }


def test_what_is_no_snapshot_is_not_replaced(tmp_path):
    config = tmp_path / "config.py"
    config.write_text("n_layer = 12")
    with pytest.raises(FwplanError, match="exists and is not a snapshot"):
        write_snapshot(config, EVENTS)
    assert config.read_text() == "n_layer = 12"
    write_snapshot(tmp_path / "run.pickle", EVENTS[:1])
    write_snapshot(tmp_path / "run.pickle", EVENTS)
    assert pickle.loads((tmp_path / "run.pickle").read_bytes()) == snapshot(EVENTS)


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(FwplanError, match=r"cannot write run\.pickle"):
        write_snapshot(tmp_path / "none" / "run.pickle", EVENTS)
