"""Arrays as short texts that a script of the page reads."""

import base64
import json

import numpy as np

# Steps between the lowest and the highest coordinate.
N_STEPS = 2**16 - 1


def pack_points(points: np.ndarray) -> dict:
    """Return points as JSON: coordinates as 16-bit integers between the lowest and the highest of their column."""
    low, high = points.min(axis=0), points.max(axis=0)
    span = np.where(high > low, high - low, 1)
    return {
        "size": len(points),
        "dimensions": points.shape[1],
        "low": low.tolist(),
        "high": high.tolist(),
        "data": pack_integers(np.rint((points - low) / span * N_STEPS), "<u2"),
    }


def pack_codes(codes: np.ndarray) -> dict:
    """Return the number of each point's group as JSON: 8-bit integers if they suffice, else 16-bit ones."""
    bits = 8 if codes.max(initial=0) < 2**8 else 16
    return {"bits": bits, "data": pack_integers(codes, f"<u{bits // 8}")}


def pack_integers(values: np.ndarray, dtype: str) -> str:
    return base64.b64encode(values.astype(dtype).tobytes()).decode()


def dump_json(data: object) -> str:
    """Return data as JSON that no text within can end the script element of."""
    return json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
