"""Adapters of index libraries: which one an object or a layout belongs to."""

from __future__ import annotations

from vark.adapters.base import Adapter, LiveMember, LoadRequest
from vark.adapters.faiss_ import FaissAdapter
from vark.adapters.hnswlib_ import HnswlibAdapter

__all__ = ["ADAPTERS", "Adapter", "LiveMember", "LoadRequest", "adapter_for_index", "adapter_for_layout"]

ADAPTERS: tuple[Adapter, ...] = (FaissAdapter(), HnswlibAdapter())


def adapter_for_index(index: object) -> Adapter | None:
    """Return the adapter of a live index, or None."""
    return next((adapter for adapter in ADAPTERS if adapter.owns(index)), None)


def adapter_for_layout(layout: str) -> Adapter | None:
    """Return the adapter of a member's layout ("faiss/IHNf" belongs to "faiss"), or None."""
    return next((adapter for adapter in ADAPTERS if layout.partition("/")[0] == adapter.name), None)
