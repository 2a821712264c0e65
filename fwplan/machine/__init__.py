"""Which GPU: the table of known cards, forgiving names for them, and what this machine has. No torch."""

from fwplan.machine.cards import Card, Evidence, Segment, Vendor, gpus, gpus_with, usable_total
from fwplan.machine.cpu import Cpu, detect_cpu, sgemm_flops
from fwplan.machine.detect import detect, detect_or_reason
from fwplan.machine.gpu import Gpu
from fwplan.machine.names import find_gpu, matches

__all__ = [
    "Card",
    "Cpu",
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
