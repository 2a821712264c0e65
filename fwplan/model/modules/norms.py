"""RMSNorm over each head's queries or keys."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class HeadNorm(nn.RMSNorm):
    """RMSNorm over a head's width, in and out in the products' dtype: (..., D) -> (..., D).

    Autocast would widen x to fp32 and keep that for backward. The kernel sums in fp32 in any case, and is one kernel
    where input and weight are of one dtype.
    """

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return F.rms_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.eps)
