"""WholeStore: a store of zarr that tells of a lost chunk. As this imports zarr, it is imported where it is needed."""

import math
import re

import zarr
from zarr.core.sync import sync
from zarr.storage import WrapperStore


class WholeStore(WrapperStore):
    """A store of zarr in which the chunks that were there once must still be: zarr reads a lost one as zeros.

    Parameters
    ----------
    store : zarr.abc.store.Store
    present : set of str
        The keys of the chunks.
    """

    def __init__(self, store, present):
        super().__init__(store)
        self.present = present

    def _with_store(self, store):
        return type(self)(store, self.present)

    async def get(self, key, prototype, byte_range=None):
        value = await super().get(key, prototype, byte_range)
        if value is None and key in self.present:
            raise OSError(f"the chunk {key} is not there any more")
        return value


def open_whole(array):
    """Return an array of zarr that raises an OSError for a lost chunk, and how many there are and should be."""
    sizes = array.shards or array.chunks  # a shard holds several chunks
    grid = [math.ceil(length / size) for length, size in zip(array.shape, sizes, strict=True)]
    present = {key for key in sync(keys_below(array)) if is_of_chunk(key, array, grid)}
    mode = "r" if array.store.read_only else "r+"  # some stores are one or the other
    opened = zarr.open_array(WholeStore(array.store, present), path=array.path, mode=mode)
    return opened, len(present), math.prod(grid)


async def keys_below(array):
    return [key async for key in array.store.list_prefix(folder_of(array))]


def folder_of(array):
    return f"{array.path}/" if array.path else ""


def is_of_chunk(key, array, grid):
    """Return whether a chunk of the array has that key, as metadata and whatever else is in the folder have not."""
    name = key.removeprefix(folder_of(array))
    place = tuple(map(int, re.findall("[0-9]+", name)))
    is_in_grid = len(place) == len(grid) and all(number < end for number, end in zip(place, grid, strict=True))
    return is_in_grid and array.metadata.encode_chunk_key(place) == name


def leaves_out_zeros():
    """Return whether zarr, as it is configured, does not write a chunk that holds nothing but the fill value."""
    return not zarr.config.get("array.write_empty_chunks")
