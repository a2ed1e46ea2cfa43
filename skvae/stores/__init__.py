"""Stores: matrices that stay on disk, of which blocks of rows are read."""

from skvae.stores.store import BUFFER_BYTES, RowStore, find_store, stack

__all__ = ["BUFFER_BYTES", "RowStore", "find_store", "stack"]
