"""Files of plain data: tensors as safetensors, the rest as JSON in their header. Reading one runs no code from it."""

import hashlib
import json
import math
from contextlib import contextmanager
from functools import singledispatch
from numbers import Integral

import numpy as np

from skvae.files import FAULTS_OF_FILES, find_file, replacing, task_in_errors

# Words of the state of a RandomState, a Mersenne twister.
N_WORDS = 624


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
    with task_in_errors(f"cannot read {path}"):
        find_file(path)  # to open a pipe would wait for its writer
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
    except FAULTS_OF_FILES as error:
        reason = str(error).partition("\n")[0]  # torch adds where in its code it was
        raise ValueError(
            f"{path} cannot be understood ({reason}): it is not of skvae, of another version, or cut short; expected a "
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
    state = value.get_state(legacy=False)
    if state["bit_generator"] != "MT19937":
        raise TypeError(f"cannot write a RandomState of {state['bit_generator']} to a file; expected one of MT19937.")
    return {"RandomState": encode(state, arrays)}


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


def decode_tuple(content, arrays):
    if not isinstance(content, list):
        raise ValueError("a tuple is not of a list")
    return tuple(decode(content, arrays))


def decode_random_state(content, arrays):
    state = decode(content, arrays)
    check_random_state(state)
    random_state = np.random.RandomState()
    random_state.set_state(state)
    return random_state


def check_random_state(state):
    """Raise a ValueError unless a RandomState may have that state: numpy would read beyond the end of its words."""
    words, position = state["state"]["key"], state["state"]["pos"]
    is_sound = (
        state["bit_generator"] == "MT19937"
        and isinstance(words, np.ndarray)
        and (words.shape, words.dtype) == ((N_WORDS,), np.uint32)
        and (words[1:].any() or words[0] >= 2**31)  # of others no number but 0 is ever drawn
        and isinstance(position, Integral)
        and 0 <= int(position) <= N_WORDS
        and state["has_gauss"] in (0, 1)
        and isinstance(state["gauss"], float)
        and math.isfinite(state["gauss"])
    )
    if not is_sound:
        raise ValueError("the state of a RandomState is none that it can have")


def decode_scalar(content, arrays):
    array = decode(content, arrays)
    if not isinstance(array, np.ndarray) or array.ndim:
        raise ValueError("a scalar is not of an array without dimensions")
    return array[()]


def decode_objects(content, arrays):
    kind, shape, items = content
    if kind not in ("O", "U") or not all(isinstance(length, Integral) and int(length) >= 0 for length in shape):
        raise ValueError(f"an array of objects is of the kind {kind} and the shape {shape}")
    flat = np.empty(len(items), object)
    for place, item in enumerate(items):  # at once numpy would take lists for rows
        flat[place] = decode(item, arrays)
    # the width of strings follows from them
    return (flat.astype(str) if kind == "U" else flat).reshape(shape)


def decode_array(content, arrays):
    array = arrays[content]
    if array.dtype.kind not in "biuf":
        raise ValueError(f"an array is of {array.dtype}")
    return array


DECODERS = {
    "tuple": decode_tuple,
    "dict": lambda content, arrays: {key: decode(item, arrays) for key, item in content.items()},
    "RandomState": decode_random_state,
    "scalar": decode_scalar,
    "objects": decode_objects,
    "array": decode_array,
}
