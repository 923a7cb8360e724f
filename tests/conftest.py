"""What the tests share."""

from serving import serve

__all__ = ["serve"]
