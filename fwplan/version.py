"""Which fwplan this is: in every plan, checkpoint and measurement that it writes."""

__version__ = "0.1.0"
