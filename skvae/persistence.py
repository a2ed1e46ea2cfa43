"""Files of plain data: tensors as safetensors, the rest as JSON in their header. Reading one runs no code from it."""

import hashlib
import json
from contextlib import contextmanager
from functools import singledispatch

import numpy as np

from skvae.files import replacing, task_in_errors


def write(path, kind, state):
    """Write plain data to a file, which appears once it is whole.

    Parameters
    ----------
    path : str or path-like
    kind : str
        What `read` is to expect.
    state : object
        None, bool, int, float, str, numpy numbers, arrays and RandomState, and lists, tuples and dicts (with keys of
        str) of these.

    Raises
    ------
    ImportError
        If safetensors is missing: `pip install "skvae[persistence]"`.
    TypeError
        For data of other types.
    OSError
        If the file cannot be written.
    """
    safetensors = import_safetensors()
    arrays: dict[str, np.ndarray] = {}
    text = json.dumps(encode(state, arrays))
    metadata = {"kind": kind, "state": text, "sha256": checksum_of(kind, text, arrays)}
    with replacing(path) as part, task_in_errors(f"cannot write {path}"):
        part.write_bytes(safetensors.numpy.save(arrays, metadata))


def read(path, kind):
    """Return what `write` wrote.

    Raises
    ------
    ImportError
        If safetensors is missing.
    ValueError
        If the file is none that `write` wrote, was changed since, or is of another kind.
    OSError
        If the file cannot be read.
    """
    safetensors = import_safetensors()
    with errors_of_file(path, kind), open(path, "rb"):
        try:
            with safetensors.safe_open(path, framework="numpy") as file:
                metadata = file.metadata()
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no dict
        except safetensors.SafetensorError as error:
            raise ValueError(error) from error
        found, text, checksum = (metadata[name] for name in ("kind", "state", "sha256"))
        is_whole = checksum == checksum_of(found, text, arrays)
    if not is_whole:
        raise ValueError(f"{path} was changed since it was written: what it holds does not have its checksum.")
    if found != kind:
        raise ValueError(f"{path} holds a {found}; expected a {kind}.")
    with errors_of_file(path, kind):
        return decode(json.loads(text), arrays)


@contextmanager
def errors_of_file(path, kind):
    """Turn whatever a foreign file brings about into one error."""
    try:
        yield
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} cannot be understood ({error}): it is not of skvae, of another version, or cut short; expected a "
            f"file that holds a {kind}."
        ) from error


def import_safetensors():
    try:
        import safetensors.numpy
    except ImportError as error:
        raise ImportError('this needs safetensors: pip install "skvae[persistence]"') from error
    return safetensors


def checksum_of(kind, text, arrays):
    """Return the SHA-256 of all that a file holds."""
    sha256 = hashlib.sha256(json.dumps([kind, text]).encode())
    for name, array in sorted(arrays.items()):
        sha256.update(json.dumps([name, array.dtype.str, array.shape]).encode())
        sha256.update(np.require(array, requirements="C").data)
    return sha256.hexdigest()


@singledispatch
def encode(value, arrays):  # noqa: ARG001
    """Return a value in the types of JSON; numbers of arrays go to `arrays`, and their name there takes their place.

    Types that JSON lacks are a dict of one item: the name of the type, and what makes the value.
    """
    raise TypeError(
        f"cannot write {value!r}, a {type(value).__name__}, to a file; expected numbers, strings, None, arrays, and "
        "lists, tuples or dicts of these."
    )


@encode.register(bool | int | float | str | None)
def encode_plain(value, arrays):  # noqa: ARG001
    return value


@encode.register(list)
def encode_list(value, arrays):
    return [encode(item, arrays) for item in value]


@encode.register(tuple)
def encode_tuple(value, arrays):
    return {"tuple": encode(list(value), arrays)}


@encode.register(dict)
def encode_dict(value, arrays):
    return {"dict": {key: encode(item, arrays) for key, item in value.items()}}


@encode.register(np.random.RandomState)
def encode_random_state(value, arrays):
    return {"RandomState": encode(value.get_state(legacy=False), arrays)}


@encode.register(np.generic)
def encode_scalar(value, arrays):
    return {"scalar": encode(np.asarray(value), arrays)}


@encode.register(np.ndarray)
def encode_array(value, arrays):
    if value.dtype.kind in "OU":
        return {"objects": [value.dtype.kind, list(value.shape), encode(value.ravel().tolist(), arrays)]}
    if value.dtype.kind not in "biuf":
        raise TypeError(f"cannot write an array of {value.dtype} to a file; expected numbers, strings or objects.")
    name = str(len(arrays))
    arrays[name] = np.require(value, value.dtype.newbyteorder("="), "C")
    return {"array": name}


def decode(value, arrays):
    """Undo `encode`."""
    if isinstance(value, list):
        return [decode(item, arrays) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    return DECODERS[kind](content, arrays)


def decode_random_state(content, arrays):
    random_state = np.random.RandomState()
    random_state.set_state(decode(content, arrays))
    return random_state


def decode_objects(content, arrays):
    kind, shape, items = content
    flat = np.empty(len(items), object)
    flat[:] = decode(items, arrays)
    # the width of strings follows from them
    return (flat.astype(str) if kind == "U" else flat).reshape(shape)


DECODERS = {
    "tuple": lambda content, arrays: tuple(decode(content, arrays)),
    "dict": lambda content, arrays: {key: decode(item, arrays) for key, item in content.items()},
    "RandomState": decode_random_state,
    "scalar": lambda content, arrays: decode(content, arrays)[()],
    "objects": decode_objects,
    "array": lambda content, arrays: arrays[content],
}
