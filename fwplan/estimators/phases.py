"""The moments of a training step at which memory can peak: the peak is the largest of them, never a plain sum."""

from __future__ import annotations

from enum import IntFlag


class Phase(IntFlag):
    """Moments of one optimizer step, in order. Blocks run backward from the top one to the bottom one."""

    LOSS_FORWARD = 1
    LOSS_WEIGHT_GRADIENT = 2  # of one chunk, in a chunked loss
    LOSS_BACKWARD = 4
    HEAD_BACKWARD = 8
    TOP_BLOCK_BACKWARD = 16
    TOP_ATTENTION_BACKWARD = 32  # where the scores are materialised
    BOTTOM_BLOCK_BACKWARD = 64
    BOTTOM_ATTENTION_BACKWARD = 128
    END_OF_BACKWARD = 256  # the embedding's dense gradient is made
    TIED_GRADIENT_SUM = 512  # and added to the head's
    OPTIMIZER_STEP = 1024
    EVALUATION_BLOCK = 2048  # evaluations are between steps: their own micro-batch, forward only
    EVALUATION_ATTENTION = 4096  # where the scores are materialised
    EVALUATION_LOSS = 8192

    @property
    def label(self) -> str:
        """The phase's name as it is printed."""
        return (self.name or "").lower().replace("_", " ")


EVALUATION = Phase.EVALUATION_BLOCK | Phase.EVALUATION_ATTENTION | Phase.EVALUATION_LOSS
STEP_PHASES = Phase(2047)
EVERY_PHASE = STEP_PHASES | EVALUATION
