"""What every part of a spec is made of: frozen, checked values, and the kinds of numbers that they hold."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

GPT2_VOCAB = 50_304  # GPT-2's 50,257 tokens rounded up to a multiple of 128, as nanoGPT does: faster matmuls

Count = Annotated[int, Field(ge=1, le=2**53)]
Bytes = Annotated[int, Field(ge=0, le=2**53)]
Layers = Annotated[int, Field(ge=1, le=1000)]
Heads = Annotated[int, Field(ge=1, le=1024)]
Width = Annotated[int, Field(ge=1, le=2**17)]
Vocabulary = Annotated[int, Field(ge=2, le=2**24)]
Context = Annotated[int, Field(ge=1, le=2**24)]
Share = Annotated[float, Field(ge=0, lt=1)]
Dtype = Literal["float32", "bfloat16", "float16", "pure_bfloat16"]


class Spec(BaseModel):
    """Base of every spec: immutable, strict about keys and types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
