"""Which GPU: the table of known cards, forgiving names for them, and what this machine has. No torch."""

from fwplan.devices.cpu import CpuDevice, detect_cpu, sgemm_flops
from fwplan.devices.detect import detect, detect_or_reason
from fwplan.devices.gpu import Gpu
from fwplan.devices.names import find_gpu, matches
from fwplan.devices.table import Device, Evidence, Segment, Vendor, gpus, gpus_with, usable_total

__all__ = [
    "CpuDevice",
    "Device",
    "Evidence",
    "Gpu",
    "Segment",
    "Vendor",
    "detect",
    "detect_cpu",
    "detect_or_reason",
    "find_gpu",
    "gpus",
    "gpus_with",
    "matches",
    "sgemm_flops",
    "usable_total",
]
