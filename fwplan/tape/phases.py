"""The moments of a training step at which memory can peak: the peak is the largest of them, never a plain sum."""

from __future__ import annotations

from enum import IntFlag


class Phase(IntFlag):
    """Moments of one optimizer step, in order. Blocks run backward from the top one to the bottom one."""

    SET_UP = 1
    FORWARD = 2  # through the blocks
    LOSS_FORWARD = 4
    LOSS_WEIGHT_GRADIENT = 8  # of one chunk, in a chunked loss
    LOSS_BACKWARD = 16
    HEAD_BACKWARD = 32
    TOP_BLOCK_BACKWARD = 64
    MIDDLE_BLOCKS_BACKWARD = 128
    BOTTOM_BLOCK_BACKWARD = 256
    END_OF_BACKWARD = 512  # the embedding's dense gradient is made and, where tied, added to the head's
    OPTIMIZER_STEP = 1024
    EVALUATION_BLOCK = 2048  # evaluations are between steps: their own micro-batch, forward only
    EVALUATION_LOSS = 4096

    @property
    def label(self) -> str:
        """The phase's name as it is printed."""
        return (self.name or "").lower().replace("_", " ")


EVALUATION = Phase.EVALUATION_BLOCK | Phase.EVALUATION_LOSS
STEP_PHASES = Phase(2047)
# Shown only where they may hold the peak: else another phase needs more, whatever a run's sizes are.
PASSING = Phase.SET_UP | Phase.FORWARD | Phase.MIDDLE_BLOCKS_BACKWARD
EVERY_PHASE = STEP_PHASES | EVALUATION
