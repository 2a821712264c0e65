"""How the loss is taken: all logits at once, or a chunk of tokens at a time."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from fwplan.fields import Count, Spec


class FullLoss(Spec):
    """Cross-entropy of all logits of a micro-batch at once."""

    name: Literal["full"] = "full"
    dtype: Literal["float32", "logits"] | None = None  # None: the logits' own where they are returned, else float32
    returns_logits: bool = False  # forward returns (logits, loss), as nanoGPT's does
    keeps_logits: bool = False  # the caller still holds the logits during backward, as nanoGPT's does

    chunk_tokens: ClassVar[None] = None
    refuses: ClassVar[dict[str, str]] = {"chunk_tokens": 'loss_chunk_tokens needs loss "chunked"'}

    @model_validator(mode="after")
    def _keeps_what_it_has(self) -> Self:
        if self.keeps_logits and not self.returns_logits:
            raise ValueError("keeps_logits needs returns_logits: what is not returned cannot be kept")
        return self


class ChunkedLoss(Spec):
    """The same loss of a chunk of tokens at a time: there is never more than a chunk of logits."""

    name: Literal["chunked"] = "chunked"
    chunk_tokens: Count | None = None  # None: 1,024, at most a micro-batch's

    dtype: ClassVar[Literal["float32"]] = "float32"
    returns_logits: ClassVar[bool] = False
    keeps_logits: ClassVar[bool] = False
    refuses: ClassVar[dict[str, str]] = {
        "dtype": "a chunked loss is taken in float32",
        "returns_logits": "a chunked loss never builds the logits, so it cannot return them",
        "keeps_logits": "keeps_logits needs returns_logits, and a chunked loss never builds the logits",
    }


AnyLoss: TypeAlias = Annotated[FullLoss | ChunkedLoss, Field(discriminator="name")]
