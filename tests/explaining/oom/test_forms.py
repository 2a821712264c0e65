"""Messages that lack PyTorch's usual words, and what is none."""

import pytest

from fwplan.explaining.oom.forms import messages
from fwplan.units import GIB, MIB

FIGURES = (
    "(GPU 1; 15.90 GiB total capacity; 14.00 GiB already allocated; 20.00 MiB free; 15.00 GiB reserved in total by "
    "PyTorch)"
)


def _only(text):
    found = list(messages(text))
    assert len(found) == 1, text
    return found[0]


@pytest.mark.parametrize(
    "text",
    [
        f"RuntimeError: CUDA out of memory. Tried to allocate 2.00 GiB {FIGURES}",
        f"Tried to allocate 2.00 GiB {FIGURES}",
        f"OutOfMemoryError: Tried to allocate 2.00 GiB {FIGURES}",
        f"my run ends like this:CUDA out of memory. Tried to allocate 2.00 GiB\n{FIGURES[1:-1]}\n",
    ],
)
def test_figures_without_the_first_words(text):
    message = _only(text)
    assert (message.backend, message.index) == ("cuda", 1)
    assert message.requested.bytes == 2 * GIB
    assert message.reserved.bytes == 15 * GIB
    assert message.free.bytes == 20 * MIB


def test_one_message_does_not_borrow_the_next_ones_figures():
    first, second = messages(
        f"CUDA out of memory. Tried to allocate 2.00 GiB\nCUDA out of memory. Tried to allocate 3.00 GiB {FIGURES}"
    )
    assert (first.requested.bytes, first.capacity) == (2 * GIB, None)
    assert second.capacity.bytes == 15.90 * GIB


@pytest.mark.parametrize(
    ("backend", "below", "text"),
    [
        ("cuda", False, "torch.OutOfMemoryError: Allocation on device \n"),
        ("cuda", False, "- **Exception Message:** Allocation on device \n## Stack Trace"),
        ("cuda", False, "ERROR - !!! Exception during processing !!! Allocation on device\n"),
        ("cuda", False, "torch.OutOfMemoryError: CUDA out of memory"),
        ("cuda", False, "torch.OutOfMemoryError: CUDA out of memory. Tr"),
        ("cuda", False, "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate more than 1EB memory"),
        ("xpu", False, "RuntimeError: XPU out of memory"),
        ("cuda", False, 'NVML_SUCCESS == r INTERNAL ASSERT FAILED at "../c10/cuda/CUDACachingAllocator.cpp":830'),
        ("cuda", False, "expandable_segments: memory mapping failed with OOM on device 0 while trying to map 2 bytes"),
        ("cuda", True, "torch.AcceleratorError: CUDA error: out of memory\nSearch for `cudaErrorMemoryAllocation'"),
        ("cuda", True, "CUDA error: out of memorySearch for `cudaErrorMemoryAllocation'"),
        ("cuda", True, "RuntimeError: cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        ("cuda", True, "host:1:1 [0] enqueue.cc:1085 NCCL WARN Cuda failure 'out of memory'"),
        ("cuda", True, "ncclUnhandledCudaError: Call failed.\nLast error:\nCuda failure 2 'out of memory'"),
        ("hip", True, "RuntimeError: HIP error: hipErrorOutOfMemory"),
        ("xpu", True, "level_zero backend failed with error: 39 (UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY)"),
    ],
)  # fmt: skip
def test_messages_without_figures(backend, below, text):
    message = _only(text)
    assert (message.backend, message.below, message.requested, message.capacity) == (backend, below, None, None)


def test_intels_extension_refuses_a_block():
    message = _only(
        "RuntimeError: Current platform can NOT allocate memory block with size larger than 4GB! Tried to allocate "
        "6.85 GiB (GPU  0; 15.56 GiB total capacity; 0 bytes already allocated; 0 bytes reserved in total by PyTorch)"
    )
    assert (message.backend, message.index, message.requested.bytes) == ("xpu", 0, 6.85 * GIB)


@pytest.mark.parametrize(
    "text",
    [
        "RuntimeError: NPU out of memory. Tried to allocate 5.03 GiB (NPU 3; 60.96 GiB total capacity; 1.32 GiB free)",
        "RuntimeError: CUDA error: an illegal memory access was encountered",
        "RuntimeError: cuDNN error: CUDNN_STATUS_NOT_SUPPORTED. This error may appear if you passed",
        "NCCL Error 1: unhandled cuda error",
        "except torch.cuda.OutOfMemoryError:\n    torch.cuda.empty_cache()",
        "# batch_size = 12 avoids CUDA out of memory on 8 GB",
        "memory allocation on device 0 took 3 ms",
        'RuntimeError: NVML_SUCCESS == r INTERNAL ASSERT FAILED at "../c10/cuda/driver_api.cpp":12',
    ],
)
def test_what_is_no_such_message(text):
    assert list(messages(text)) == []
