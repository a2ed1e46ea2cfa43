"""Containers: files of anndata, of which a matrix is opened by its name."""

from skvae.files import task_in_errors


def open_h5ad(path):
    import h5py

    return h5py.File(path)


def open_zarr(path):
    import zarr

    return zarr.open_group(path, mode="r")


OPENERS = {".h5ad": open_h5ad, ".zarr": open_zarr}


def open_matrix(path, layer):
    """Return X, a layer, or the X of `raw`, of a file of anndata: a dataset, or a sparse one of anndata."""
    if path.suffix not in OPENERS:
        raise ValueError(f"X == {str(path)!r}, must end in one of {list(OPENERS)}.")
    if not path.exists():
        raise FileNotFoundError(f"X == {str(path)!r}: there is no such file.")
    import anndata  # noqa: F401, what needs it says so before a file is open

    with task_in_errors(f"cannot read {path}"):
        group = OPENERS[path.suffix](path)
        try:
            return find_matrix(group, layer)
        except BaseException:
            close_file(group)
            raise


def find_matrix(group, layer):
    from anndata.io import sparse_dataset

    places = places_of(group)
    if layer not in places:
        layers = [name for name in places if name is not None]
        raise ValueError(f"layer == {layer!r}, must be None or one of {layers}.")
    if places[layer] not in group:
        raise ValueError(f"it holds {sorted(group)}; expected {places[layer]}.")
    element = group[places[layer]]
    return element if hasattr(element, "dtype") else sparse_dataset(element)


def places_of(group):
    """Return where the matrices of a file are, by the name of their layer; None for X."""
    places: dict[str | None, str] = {None: "X"}
    if "raw" in group and "X" in group["raw"]:
        places["raw"] = "raw/X"
    return places | {name: f"layers/{name}" for name in group.get("layers", ())}


def close_file(element):
    """Close the file that a dataset, a sparse one of anndata, or a group of h5py is in; zarr keeps none open."""
    element = getattr(element, "group", element)
    if hasattr(type(element), "file") and element:  # that is false where the file is closed already
        element.file.close()
