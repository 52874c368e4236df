#!/usr/bin/env python3
"""Writes numpy-dtypes.json: what numpy says about many dtypes, for tests of common/dtype and npy.

Run with the numpy of Debian 12 (1.24): tests/data/make_numpy_dtypes.py > tests/data/numpy-dtypes.json
"""
import base64
import hashlib
import io
import json
import warnings

import numpy as np

warnings.simplefilter("ignore")  # numpy warns about npy versions 2.0 and 3.0

SIMPLE = [
    "?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "f16", "c8", "c16", "c32",
    ">i2", ">i4", ">i8", ">u2", ">u4", ">u8", ">f2", ">f4", ">f8", ">f16", ">c8", ">c16", ">c32",
    "S1", "S3", "S300", "U1", "U5", ">U5", "V0", "V1", "V8", "M8", "M8[ns]", "M8[25s]", "M8[Y]", "M8[1D]",
    "M8[generic]", "M8[1000ms]", ">M8[ns]", "m8", "m8[us]", "m8[10ms]", ">m8[W]", "m8[as]",
]

STRUCTURED = [
    [("a", "<i4"), ("b", "<f8", (2,))],
    [("a", "i1"), ("b", "?"), ("c", "S3"), ("d", "V3"), ("e", "U2"), ("f", ">U2")],
    [("a", "M8[ns]"), ("b", ">m8[25s]"), ("c", "m8"), ("d", "c16"), ("e", ">c8"), ("f", "f2")],
    [("x", [("y", "<f4"), ("z", ">f4")]), ("w", "u1")],
    [("x", [("y", [("z", "i2", (3, 2))], (2,))], (2, 1))],
    [("a", ("<f8", (2,)), (3,))],
    [("a", (("<i2", (2,)), (3,)), (1, 2))],
    [("a", ("<f8", (2,)))],
    [(("title", "a"), "<i4")],
    [(("Geschwindigkeit in m/s", "v"), ">f8", (3,)), ("w", "?")],
    [("x", [(("t", "a"), "<i4")]), ("b", "i1")],
    np.dtype([("a", "i1"), ("b", "<i4")], align=True),
    np.dtype([("a", "<i4"), ("b", "i1")], align=True),
    np.dtype([("p", np.dtype([("a", "i1"), ("b", "<f8")], align=True)), ("q", "i1")]),
    {"names": ["a", "b"], "formats": ["<i2", "S5"], "offsets": [3, 11], "itemsize": 30},
    {"names": ["a"], "formats": [(("<f4", (2, 2)))], "offsets": [8]},
    [("it's", "<i4"), ('say "x"', "<i4"), ("both ' and \"", "<i4"), ("back\\slash", "<i4")],
    [("tab\t", "<i4"), ("nul\x00", "<i4"), ("del\x7f", "<i4"), ("bell\x07\n\r", "i1")],
    [("gr\u00fc\u00df", "<i4"), ("nbsp\u00a0", "i1"), ("soft\u00ad", "i1")],
    [("\u6e29\u5ea6", "<f8"), ("\u2028", "i1"), ("\ufeff", "i1"), ("\ue000", "i1")],
    [("\U0001f600", "<f8"), ("\U000e0001", "i1")],
    [("field%04d" % i, "<f8") for i in range(100)],
    [("a" * 30000, "<f8"), ("b" * 33000, "<i4")],
    [("a b", "<i4"), (" c ", "<i4"), ("1", "<i4"), ("[x]", "i1"), (",", "i1")],
    # Of no bytes, or with fields that are.
    [], [("a", [])], [("a", []), ("b", "<i4")], [("a", [], (2,)), ("b", "V0"), ("c", "<f8")],
    {"names": [], "formats": [], "itemsize": 4},
]

# Names that numpy takes and never writes: other programs do.
SPELLINGS = [order + code for code in "?bBhHiIlLqQpPefdgFDGMm" for order in ("", "<", ">", "=", "|")] + [
    "a4", "|a4", "c", "S", "U", "V", "O", "b1", "|i1", "<i1", ">u1", "|i4", "=f8", "f8", "c16", "M8", "M8[1D]", "U3",
]

SHAPES = [(), (1,), (5,), (0,), (2, 3), (3, 2, 4), (1, 7, 1, 2), (2, 0, 3), (1, 1), (35, 40)]


def filled(dtype, shape):
    """An array whose bytes are all different where that makes values numpy can print."""
    count = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    data = bytes((i * 7 + 1) % 120 for i in range(count))
    if dtype.kind == "b":
        data = bytes(i % 2 for i in range(count))
    if dtype.itemsize == 0 or count == 0:
        return np.zeros(shape, dtype)
    return np.frombuffer(data, dtype).reshape(shape)


def npy(array):
    out = io.BytesIO()
    np.save(out, array, allow_pickle=False)
    return out.getvalue()


def from_header(dtype):
    """The dtype that np.load makes of what np.save wrote, without `aligned` and metadata."""
    descr = np.lib.format.dtype_to_descr(dtype)
    return np.lib.format.descr_to_dtype(descr)


def has_padding_or_titles(dtype):
    if dtype.subdtype is not None:
        return has_padding_or_titles(dtype.subdtype[0])
    if dtype.names is None:
        return False
    offset = 0
    for name in dtype.names:
        field = dtype.fields[name]
        if field[1] != offset or len(field) > 2 or has_padding_or_titles(field[0]):
            return True
        offset += field[0].itemsize
    return offset != dtype.itemsize


def name_of(dtype):
    """DESIGN.md 3: str(dtype), but the header's descr for padding, offsets and titles."""
    if has_padding_or_titles(dtype):
        return repr(np.lib.format.dtype_to_descr(dtype))
    return str(dtype)


def key_of(dtype, array):
    digest = hashlib.sha256(name_of(dtype).encode())
    digest.update(np.array(array.shape, "<i8").tobytes())
    digest.update(c_bytes(array))
    return base64.urlsafe_b64encode(digest.digest()).decode()


def split(data):
    """An .npy file's header and its data."""
    start = 10 if data[6] == 1 else 12
    end = start + int.from_bytes(data[8:start], "little")
    return data[:end], data[end:]


def c_bytes(array):
    """The bytes in C order as np.save writes them, padding included."""
    return split(npy(array))[1]


def fortran_npy(array):
    """What np.save writes for the array in Fortran order, with the padding that numpy loses."""
    header, _ = split(npy(np.array(array, order="F")))
    if b"'fortran_order': False" in header or array.dtype.itemsize == 0:
        return header + c_bytes(array)
    raw = np.frombuffer(c_bytes(array), "V%d" % array.dtype.itemsize).reshape(array.shape)
    return header + raw.tobytes("F")


def case(spec, shape):
    dtype = from_header(np.dtype(spec))
    array = filled(dtype, shape)
    return {
        "name": name_of(dtype),
        "descr": repr(np.lib.format.dtype_to_descr(dtype)),
        "itemsize": dtype.itemsize,
        "shape": list(shape),
        "npy": base64.b64encode(npy(array)).decode(),
        "fortran_npy": base64.b64encode(fortran_npy(array)).decode(),
        "key": key_of(dtype, array),
    }


def main():
    cases = [case(spec, (2, 3)) for spec in SIMPLE]
    cases += [case(spec, (2, 3)) for spec in STRUCTURED]
    for spec in ("u1", ">i2", "<i4", "<f8", "S3", [("a", "i1"), ("b", "<i4")], "c16"):
        cases += [case(spec, shape) for shape in SHAPES]
    cases.append(case("i1", (1,) * 31 + (2,)))
    cases.append(case("i1", (2,) * 10))
    lines = ",\n".join(json.dumps(c) for c in cases)
    spellings = json.dumps({name: str(np.dtype(name)) for name in SPELLINGS})
    print('{"about": "numpy %s; made by make_numpy_dtypes.py", "cases": [\n%s\n], "spellings": %s}'
          % (np.__version__, lines, spellings))


if __name__ == "__main__":
    main()
