"""What tests of blobs share: arrays as the API names them, and a server to put them to."""
import base64, hashlib, os, random, struct, unittest

import grpc

from support import Server, caller
from tiffin.v1 import blobs_pb2, common_pb2

CHUNK = 300_000
PIECE = 2 << 20  # an open upload is written, and told of, in pieces of so many bytes


def text_of(key):
    return base64.urlsafe_b64encode(key).decode()


def key_of(dtype, shape, data):
    return hashlib.sha256(dtype.encode() + struct.pack(f"<{len(shape)}q", *shape) + data).digest()


def name_of(array):
    return common_pb2.BlobName(key=key_of(str(array.dtype), array.shape, array.tobytes()),
                               dtype=str(array.dtype), shape=array.shape)


def header(name, offset=0, namespace="default"):
    return blobs_pb2.PutRequest(header=blobs_pb2.PutRequest.Header(
        caller=caller(namespace), name=name, offset=offset))


def parts(name, data, offset=0):
    """The messages of a Put."""
    yield header(name, offset)
    for at in range(offset, len(data), CHUNK):
        yield blobs_pb2.PutRequest(chunk=data[at:at + CHUNK])


def ref_of(name):
    return {"_noodles": "0.3.0", "type": "<object>", "class": "numpy.ndarray", "ref": True,
            "data": {"hdf5_path": text_of(name.key), "dtype": name.dtype,
                     "shape": list(name.shape)}}


def refer(array):
    """The ref record of an array."""
    return ref_of(name_of(array))


class BlobsCase(unittest.TestCase):
    flags = ("--allow-local", "--pin-time", "0", "--open-pack", str(4 << 20))

    def setUp(self):
        self.rng_of_headers = random.Random(int(os.environ.get("TIFFIN_SEED") or random.randrange(1 << 30)))
        self.server = Server(*self.flags)
        self.addCleanup(self.server.close)

    def put(self, array, name=None, offset=0):
        return self.server.blobs.Put(parts(name or name_of(array), array.tobytes(), offset))

    def query(self, name):
        return self.server.blobs.QueryPut(blobs_pb2.QueryPutRequest(caller=caller(), name=name))

    def deref(self, name, slab=None, **members):
        request = blobs_pb2.DerefRequest(caller=caller(), ref=blobs_pb2.BlobRef(name=name), **members)
        if slab is not None:
            request.slab.SetInParent()
            for start, count, stride in slab:
                request.slab.dimensions.add(start=start, count=count, stride=stride)
        request.first_with_header = bool(self.rng_of_headers.getrandbits(1))
        messages = list(self.server.blobs.Deref(request))
        self.message_bytes = [len(m.header.first) + len(m.chunk) for m in messages]
        data = messages[0].header.first + b"".join(m.chunk for m in messages[1:])
        self.assertEqual(len(data), messages[0].header.length)
        return messages[0].header, data

    def fails(self, code, words, call):
        with self.assertRaises(grpc.RpcError) as caught:
            call()
        self.assertEqual(caught.exception.code(), code, caught.exception.details())
        for word in words:
            self.assertIn(word, caught.exception.details())
