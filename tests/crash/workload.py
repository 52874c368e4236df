"""What clients send: arrays, their names and refs, and the calls that tests make of them."""
import base64, threading, time

import grpc
import numpy
from blob_support import PIECE, name_of
from support import batch, caller
from tiffin.v1 import blobs_pb2

CHUNK = 256 << 10


def random_array(rng, size):
    """Of about `size` bytes, with a dtype and shape of its own."""
    dtype = rng.choice(("float64", "int16", ">i4", "uint8", "complex64", "bool"))
    n = max(size // numpy.dtype(dtype).itemsize, 1)
    if dtype == "bool":
        return numpy.frombuffer(rng.randbytes(n), "uint8") % 2 == 0
    array = numpy.frombuffer(rng.randbytes(n * numpy.dtype(dtype).itemsize), dtype)
    return array[:n // 2 * 2].reshape(2, -1) if n > 1 and rng.random() < 0.5 else array


def inline_of(array):
    """The record as Noodles sends it, the bytes in base64."""
    import io
    text = io.BytesIO()
    numpy.save(text, array)
    return {"_noodles": "0.3.0", "type": "<object>", "class": "numpy.ndarray",
            "data": base64.b64encode(text.getvalue()).decode()}


def put_parts(array, namespace="default", key=True, offset=0):
    name = name_of(array)
    if not key:
        name.key = b""
    yield blobs_pb2.PutRequest(header=blobs_pb2.PutRequest.Header(
        caller=caller(namespace), name=name, offset=offset))
    data = array.tobytes()
    for at in range(offset, len(data), CHUNK):
        yield blobs_pb2.PutRequest(chunk=data[at:at + CHUNK])


def put_array(server, array, namespace="default", key=True, offset=0):
    return server.blobs.Put(put_parts(array, namespace, key, offset))


def received(server, array, namespace="default"):
    """How much of an upload has come."""
    return server.blobs.QueryPut(blobs_pb2.QueryPutRequest(
        caller=caller(namespace), name=name_of(array))).received


def break_off_upload(server, array, namespace="default"):
    """The first part of an upload, a piece and a bit, then the connection breaks."""
    assert array.nbytes > PIECE + CHUNK
    done = threading.Event()
    parts = put_parts(array, namespace)

    def some():
        yield next(parts)
        for _ in range(PIECE // CHUNK + 1):
            yield next(parts)
        done.wait()
    call = server.blobs.stub.Put.future(some())
    try:
        while received(server, array, namespace) < PIECE and not call.done():
            time.sleep(0.005)
    finally:
        call.cancel()
        done.set()


def batch_put(server, arrays, namespace="default"):
    items = batch(server.blobs.BatchPut, blobs_pb2.BatchPutRequest(
        caller=caller(namespace), items=[
            blobs_pb2.BatchPutRequest.Item(name=name_of(a), data=a.tobytes()) for a in arrays]))
    for item in items:
        if item.status.code:
            raise ItemFailed(item.status)
    return [item.response.name for item in items]


class ItemFailed(grpc.RpcError):
    """An item of a batch, as if it had been a call of its own."""

    def __init__(self, status):
        super().__init__(status.message)
        self.status = status

    def code(self):
        return next(c for c in grpc.StatusCode if c.value[0] == self.status.code)

    def details(self):
        return self.status.message


def read_blob(server, name, namespace="default"):
    """Its bytes; raises what Deref answers."""
    messages = list(server.blobs.Deref(blobs_pb2.DerefRequest(
        caller=caller(namespace), ref=blobs_pb2.BlobRef(name=name))))
    data = b"".join(m.chunk for m in messages[1:])
    if len(data) != messages[0].header.length:
        raise AssertionError(f"{len(data)} of {messages[0].header.length} bytes came")
    return data
