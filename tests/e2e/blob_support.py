"""Arrays as the API names them."""
import base64, hashlib, struct

from support import caller
from tiffin.v1 import blobs_pb2, common_pb2

CHUNK = 300_000


def text_of(key):
    return base64.urlsafe_b64encode(key).decode()


def name_of(array):
    key = hashlib.sha256(str(array.dtype).encode() +
                         struct.pack(f"<{array.ndim}q", *array.shape) + array.tobytes()).digest()
    return common_pb2.BlobName(key=key, dtype=str(array.dtype), shape=array.shape)


def header(name, offset=0, namespace="default"):
    return blobs_pb2.PutRequest(header=blobs_pb2.PutRequest.Header(
        caller=caller(namespace), name=name, offset=offset))


def parts(name, data, offset=0):
    """The messages of a Put."""
    yield header(name, offset)
    for at in range(offset, len(data), CHUNK):
        yield blobs_pb2.PutRequest(chunk=data[at:at + CHUNK])


def refer(array):
    """The ref record of an array."""
    name = name_of(array)
    return {"_noodles": "0.3.0", "type": "<object>", "class": "numpy.ndarray", "ref": True,
            "data": {"hdf5_path": text_of(name.key), "dtype": name.dtype,
                     "shape": list(name.shape)}}
