"""Blobs through the wire: hyperslabs as numpy cuts them, uploads that go on, maps of the packs, collecting,
and damage that heals."""
import glob, io, itertools, os, random, signal, subprocess, tempfile, threading, time, unittest

import grpc
import h5py
import numpy

from blob_support import CHUNK, PIECE, BlobsCase, header, name_of, parts, refer, text_of
from cli_support import CLI
from gate import Gate
from support import Server, caller, get, job, record, store, submit, until
from tiffin.v1 import admin_pb2, blobs_pb2, jobs_pb2

SLABS = int(os.environ.get("TIFFIN_SLABS", "240"))


class BlobsTest(BlobsCase):
    def test_slabs_are_numpy_s(self):
        seed = int(os.environ.get("TIFFIN_SEED") or random.randrange(1 << 30))
        rng = random.Random(seed)
        print("seed", seed)
        for number in range(SLABS // 40):
            dtype = ("float64", ">i2", "|S3", "complex64")[number % 4]
            rank = rng.randint(1, 6)
            shape = [rng.randint(1, (5000, 250, 50, 18, 9, 6)[rank - 1]) for _ in range(rank)]
            if number % 6 == 5:  # with runs that are sent as they lie
                shape = [1] * max(rank - 2, 0) + [rng.randint(2, 9)] + [rng.randint(70_000, 150_000)]
            array = numpy.frombuffer(rng.randbytes(int(numpy.prod(shape)) *
                                                   numpy.dtype(dtype).itemsize),
                                     dtype=dtype).reshape(shape)
            name = self.put(array).name
            for _ in range(40):
                slab, index = [], []
                for extent in shape:
                    start, stride = rng.randint(0, extent - 1), rng.randint(1, 4)
                    if rng.random() < 0.3:
                        start, stride, count = 0, 1, extent
                    else:
                        count = rng.randint(0, (extent - 1 - start) // stride + 1)
                    slab.append((start, count, stride))
                    index.append(slice(start, start + count * stride, stride))
                expected = array[tuple(index)]
                with self.subTest(dtype=dtype, shape=shape, slab=slab, seed=seed):
                    head, data = self.deref(name, slab)
                    self.assertEqual(tuple(head.shape), expected.shape)
                    self.assertEqual(data, expected.tobytes())
                    if data:
                        at = rng.randrange(len(data))
                        n = rng.randint(0, len(data))
                        self.assertEqual(self.deref(name, slab, offset=at, limit=n)[1],
                                         data[at:at + n])

    def test_slabs_of_a_large_array(self):
        array = numpy.arange(3_000_000, dtype="int64").reshape(1500, 2000)
        name = self.put(array).name
        for slab, expected in [
                ([(0, 1500, 1), (7, 1, 1)], array[:, 7:8]),
                ([(3, 300, 5), (0, 1000, 2)], array[3:1503:5, ::2]),
                ([(100, 1200, 1), (0, 2000, 1)], array[100:1300]),
                ([(0, 1500, 1), (500, 1000, 1)], array[:, 500:1500])]:
            self.assertEqual(self.deref(name, slab)[1], expected.tobytes())
        head, data = self.deref(name, [(5, 2, 3), (1, 3, 2)], format=blobs_pb2.DEREF_NPY)
        numpy.testing.assert_array_equal(numpy.load(io.BytesIO(data)), array[5:11:3, 1:7:2])
        whole = self.deref(name, format=blobs_pb2.DEREF_NPY)[1]
        numpy.testing.assert_array_equal(numpy.load(io.BytesIO(whole)), array)

    def test_messages_of_long_runs_are_half_a_mebibyte_to_one(self):
        array = numpy.arange(40 * 70_000, dtype="float64").reshape(40, 70_000)
        name = self.put(array).name
        for slab, expected in [
                ([(0, 40, 1), (11, 9_000, 1)], array[:, 11:9_011]),  # runs of 72 kB
                ([(1, 20, 2), (0, 50_000, 1)], array[1:41:2, :50_000]),
                ([(0, 40, 1), (0, 70_000, 1)], array),
                ([(0, 40, 1), (3, 7_000, 1)], array[:, 3:7_003])]:  # of 56 kB, which are gathered
            file = io.BytesIO()
            numpy.save(file, expected)
            for offset, limit, npy in itertools.product((0, 1, 100, 300_001), (1, 1_500_000, 1 << 40), (False, True)):
                whole = file.getvalue() if npy else expected.tobytes()
                members = {"format": blobs_pb2.DEREF_NPY} if npy else {}
                with self.subTest(slab=slab, offset=offset, limit=limit, npy=npy):
                    data = self.deref(name, slab, offset=offset, limit=limit, **members)[1]
                    self.assertEqual(data, whole[offset:offset + limit])
                    sizes = [n for n in self.message_bytes if n > 0]  # the header may hold nothing
                    self.assertGreater(len(sizes), 1 if limit > 1 else 0)
                    self.assertGreaterEqual(min(sizes[:-1], default=1 << 19), 1 << 19, sizes)
                    self.assertLessEqual(max(sizes), 1 << 20)

    def test_messages_of_short_runs_that_lie_far_apart_are_full(self):
        array = numpy.zeros((160, 1 << 20), "uint8")
        array[:, 5:5 + (8 << 10)] = numpy.random.default_rng(1).integers(0, 256, (160, 8 << 10))
        name = self.put(array).name
        for checked in (False, True):  # the second time there is nothing to bring in and check
            with self.subTest(checked=checked):
                data = self.deref(name, [(0, 160, 1), (5, 8 << 10, 1)])[1]
                self.assertEqual(data, array[:, 5:5 + (8 << 10)].tobytes())
                self.assertEqual([n for n in self.message_bytes if n > 0], [1 << 20, 256 << 10])

    def test_bad_slabs_are_named(self):
        name = self.put(numpy.zeros((4, 5), "int32")).name
        bad, beyond = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.OUT_OF_RANGE
        for code, words, slab in [
                (bad, ["slab.dimensions", "1 dimensions"], [(0, 1, 1)]),
                (bad, ["[0]", "start -1"], [(-1, 1, 1), (0, 1, 1)]),
                (bad, ["[1]", "count -2"], [(0, 1, 1), (0, -2, 1)]),
                (bad, ["[1]", "stride -1"], [(0, 1, 1), (0, 2, -1)]),
                (beyond, ["[1]", "start 5"], [(0, 1, 1), (5, 1, 1)]),
                (beyond, ["[0]", "count 3"], [(0, 3, 2), (0, 1, 1)])]:
            with self.subTest(slab):
                self.fails(code, words, lambda: self.deref(name, slab))

    def test_an_upload_goes_on_over_broken_connections_and_restarts(self):
        array = numpy.random.default_rng(1).integers(0, 1 << 60, 600_000)
        name, data = name_of(array), array.tobytes()

        def broken(offset, stop, told):
            """Sends up to byte `stop`, waits until `told` bytes are told to have come, breaks off."""
            sent = threading.Event()

            def some():
                yield header(name, offset)
                for at in range(offset, stop, CHUNK):
                    yield blobs_pb2.PutRequest(chunk=data[at:min(at + CHUNK, stop)])
                sent.wait()
            call = self.server.blobs.Put.future(some())
            query = lambda: self.server.blobs.QueryPut(
                blobs_pb2.QueryPutRequest(caller=caller(), name=name)).received
            while query() < told:
                self.assertFalse(call.done())
                time.sleep(0.01)
            if told == 0:
                time.sleep(0.2)
            call.cancel()
            sent.set()
            # What came is written once the server knows that the connection broke.
            at = query()
            for _ in range(100):
                if at > told:
                    break
                time.sleep(0.01)
                at = query()
            return at  # more may come to be told: the server can still be writing
        # Less than a piece is told after the break.
        at = next(filter(None, (broken(0, 1_000_000, 0) for _ in range(20))))
        self.assertLessEqual(at, 1_000_000)
        # Whole pieces are while it is open.
        at = broken(at, 2_500_000, PIECE)
        self.assertLessEqual(at, 2_500_000)
        self.server.stop(signal.SIGKILL)
        self.server.start()
        state = self.server.blobs.QueryPut(blobs_pb2.QueryPutRequest(caller=caller(), name=name))
        self.assertFalse(state.exists)
        self.assertGreaterEqual(state.received, at)  # what was told is not forgotten
        self.assertLessEqual(state.received, 2_500_000)
        # Another namespace has nothing to go on from.
        self.fails(grpc.StatusCode.FAILED_PRECONDITION, ["offset", "first 0 bytes"],
                   lambda: self.server.blobs.Put(iter([header(name, 1000, "elsewhere")])))
        self.assertEqual(self.put(array, name, at).name, name)
        self.assertEqual(self.deref(name)[1], data)
        self.assertEqual(glob.glob(self.server.data + "/uploads/*"), [])

    def test_a_wrong_rest_is_refused_and_nothing_stays(self):
        array = numpy.arange(400_000)
        name = name_of(array)
        wrong = array.copy()
        wrong[-1] = 0
        self.fails(grpc.StatusCode.INVALID_ARGUMENT, ["key"],
                   lambda: self.server.blobs.Put(parts(name, wrong.tobytes())))
        for data, word in ((array.tobytes()[:-8], "ended"), (array.tobytes() + b"x", "more")):
            self.fails(grpc.StatusCode.INVALID_ARGUMENT, [word],
                       lambda: self.server.blobs.Put(parts(name, data)))
        for folder in ("uploads/*", "tmp/*", "packs/*/*"):
            while glob.glob(os.path.join(self.server.data, folder)):
                pass  # removed when the call is over on the server's side, too

    def test_an_upload_that_nobody_goes_on_with_expires(self):
        server = Server("--upload-time", "1")
        self.addCleanup(server.close)
        array = numpy.arange(600_000)
        gone = threading.Event()
        self.addCleanup(gone.set)

        def some():
            yield header(name_of(array))
            yield blobs_pb2.PutRequest(chunk=array.tobytes()[:PIECE])
            gone.wait()
        call = server.blobs.Put.future(some())
        received = lambda: server.blobs.QueryPut(
            blobs_pb2.QueryPutRequest(caller=caller(), name=name_of(array))).received
        until(lambda: received() == PIECE)
        call.cancel()
        until(lambda: os.listdir(server.data + "/uploads") == [])
        self.assertEqual(received(), 0)

    def test_equal_uploads_at_once_all_proceed(self):
        array = numpy.random.default_rng(2).random(300_000)
        outcomes, threads = [], []
        for _ in range(6):
            threads.append(threading.Thread(target=lambda: outcomes.append(self.put(array))))
            threads[-1].start()
        for thread in threads:
            thread.join()
        self.assertEqual([o.size for o in outcomes], [array.nbytes] * 6)
        self.assertEqual([o.existed for o in outcomes].count(False), 1)
        self.assertEqual(len(glob.glob(self.server.data + "/packs/*/*.h5")), 1)

    def test_a_client_takes_no_upload_from_who_still_sends_it(self):
        array = numpy.random.default_rng(4).random(700_000)
        name = name_of(array)
        messages = list(parts(name, array.tobytes()))
        go_on = threading.Event()

        def slowly():
            yield from messages[:15]
            go_on.wait()
            yield from messages[15:]
        other = self.server.blobs.Put.future(slowly())
        self.addCleanup(go_on.set)
        while self.query(name).received < PIECE:
            pass
        self.assertTrue(self.query(name).sending)
        with tempfile.NamedTemporaryFile(suffix=".npy") as file:
            numpy.save(file.name, array)
            printed = subprocess.run([CLI, "--server", self.server.address, "put", file.name], check=True,
                                     capture_output=True, text=True, timeout=120).stdout
        self.assertIn("stored", printed)
        go_on.set()
        self.assertTrue(other.result().existed)

    def test_a_client_goes_on_with_what_a_killed_one_has_sent(self):
        array = numpy.random.default_rng(5).random(3_000_000)
        name = name_of(array)
        gate = Gate(self.server.address)
        self.addCleanup(gate.close)
        gate.rate = 8 << 20  # so that it is killed on the way
        with tempfile.NamedTemporaryFile(suffix=".npy") as file:
            numpy.save(file.name, array)
            put = [CLI, "--server", gate.address, "put", file.name]
            with subprocess.Popen(put, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as first:
                while self.query(name).received < 2 * PIECE:
                    pass
                first.kill()
            gate.rate = None
            while self.query(name).sending:
                pass
            there = self.query(name).received
            self.assertGreaterEqual(there, 2 * PIECE)
            self.assertLess(there, array.nbytes)
            before = gate.up
            subprocess.run(put, check=True, capture_output=True, timeout=120)
        self.assertLess(gate.up - before, array.nbytes - there + (1 << 20))
        self.assertEqual(self.deref(name)[1], array.tobytes())

    def test_a_known_blob_is_answered_without_its_bytes(self):
        array = numpy.arange(300_000)
        self.put(array)
        self.assertTrue(self.server.blobs.Put(iter([header(name_of(array))])).existed)

    def test_a_blob_of_another_namespace_is_known_to_nobody_without_its_bytes(self):
        for array in (numpy.arange(300_000), numpy.arange(3)):
            self.put(array)
            name = name_of(array)
            self.fails(grpc.StatusCode.INVALID_ARGUMENT, [f"0 of {array.nbytes} bytes"],
                       lambda: self.server.blobs.Put(iter([header(name, namespace="theirs")])))
            self.fails(grpc.StatusCode.NOT_FOUND, ["no blob"], lambda: list(self.server.blobs.Deref(
                blobs_pb2.DerefRequest(caller=caller("theirs"), ref=blobs_pb2.BlobRef(name=name)))))
            self.server.blobs.Put(iter([header(name, namespace="theirs"), blobs_pb2.PutRequest(chunk=array.tobytes())]))
            self.assertTrue(self.server.blobs.Put(iter([header(name, namespace="theirs")])).existed)

    def test_a_server_that_is_told_to_stop_seals_what_is_small(self):
        arrays = [numpy.arange(i) for i in range(1, 40)]
        for array in arrays:
            self.put(array)
        self.server.stop()
        self.assertEqual(os.listdir(os.path.join(self.server.data, "open")), [])
        found = {}
        for path in glob.glob(os.path.join(self.server.data, "packs", "*", "*.h5")):
            with h5py.File(path, "r") as pack:
                found.update((key, pack[key][...]) for key in pack)
        for array in arrays:
            numpy.testing.assert_array_equal(found[text_of(name_of(array).key)], array)

    def test_local_callers_map_the_pack(self):
        array = numpy.random.default_rng(3).random((500, 400))
        name = self.put(array).name
        head, _ = self.deref(name, local=True)
        local = head.local
        self.assertEqual(os.stat(local.path).st_ino, local.inode)
        mapped = numpy.memmap(local.path, array.dtype, "r", local.offset, array.shape)
        numpy.testing.assert_array_equal(mapped, array)
        self.assertFalse(self.deref(name, [(0, 1, 1), (0, 1, 1)], local=True)[0].HasField("local"))
        small = self.put(numpy.arange(10)).name
        self.assertFalse(self.deref(small, local=True)[0].HasField("local"))
        self.server.admin.Seal(admin_pb2.SealRequest())
        self.assertTrue(self.deref(small, local=True)[0].HasField("local"))

    def test_collect_leaves_a_pack_of_tiny_blobs_as_it_is(self):
        arrays = [numpy.full(12, i) for i in range(300)]
        for array in arrays:
            self.put(array)
        answer = submit(self.server, job("tiny", [refer(array) for array in arrays]))
        store(self.server, answer, 1)
        self.server.admin.Seal(admin_pb2.SealRequest())
        done = self.server.admin.Collect(admin_pb2.CollectRequest())
        self.assertEqual((done.blobs, done.packs_removed, done.packs_rewritten, done.freed_bytes), (0, 0, 0, 0))

    def test_collect_frees_what_nothing_refers_to(self):
        used, unused = numpy.arange(200_000), numpy.arange(200_001)
        small = [numpy.full(2000, i) for i in range(50)]
        for array in [used, unused] + small:
            self.put(array)
        answer = submit(self.server, job("f", refer(small[0])))
        # A value that holds a ref: what it holds stays, too.
        held = {"_noodles": "0.3.0", "type": "<automagic>", "class": "m.C", "ref": True,
                "data": {"inner": refer(small[1])}}
        store(self.server, answer, [refer(used), held])
        self.server.admin.Seal(admin_pb2.SealRequest())
        dry = self.server.admin.Collect(admin_pb2.CollectRequest(dry_run=True))
        self.assertEqual(dry.blobs, 49)
        before = self.server.admin.Stats(admin_pb2.StatsRequest()).blobs
        done = self.server.admin.Collect(admin_pb2.CollectRequest())
        self.assertEqual((done.blobs, done.packs_removed, done.packs_rewritten), (49, 1, 1))
        self.assertGreater(done.freed_bytes, unused.nbytes)
        self.assertEqual(self.server.admin.Stats(admin_pb2.StatsRequest()).blobs, before - 49)
        for array in (used, small[0], small[1]):
            self.assertEqual(self.deref(name_of(array))[1], array.tobytes())
        for array in (unused, small[2]):
            self.fails(grpc.StatusCode.NOT_FOUND, ["no blob"], lambda: self.deref(name_of(array)))
        self.assertEqual(len(glob.glob(self.server.data + "/packs/*/*.h5")), 2)
        self.assertEqual(self.server.admin.Collect(admin_pb2.CollectRequest()).packs_rewritten, 0)

    def test_the_catalogue_finds_every_blob_with_h5py(self):
        arrays = [numpy.arange(200_000), numpy.ones((3, 4)), numpy.zeros(0), numpy.array(5)]
        for array in arrays:
            self.put(array)
        entries = [e for page in self.server.admin.Catalogue(
            admin_pb2.CatalogueRequest(caller=caller())) for e in page.entries]
        self.assertEqual({(e.name.key, e.name.dtype) for e in entries},
                         {(name_of(a).key, str(a.dtype)) for a in arrays})
        for entry in entries:
            with h5py.File(entry.pack) as pack:
                found = [d for d in pack.values() if (d.id.get_offset() or 0) == entry.offset]
                self.assertEqual(len(found), 1)
                self.assertEqual(found[0].dtype, entry.name.dtype)

    def test_damage_is_told_never_served_and_heals(self):
        array = numpy.random.default_rng(4).random(400_000)
        name = self.put(array).name
        answer = submit(self.server, job("makes", 1))
        store(self.server, answer, [refer(array)])
        local = self.deref(name, local=True)[0].local
        self.server.stop()
        with open(local.path, "r+b") as pack:
            pack.seek(local.offset + 2_000_000)
            byte = pack.read(1)
            pack.seek(local.offset + 2_000_000)
            pack.write(bytes([byte[0] ^ 1]))
        self.server.start()
        # What comes before the damage is sound.
        self.assertEqual(self.deref(name, limit=1 << 20)[1], array.tobytes()[:1 << 20])
        for _ in range(2):
            self.fails(grpc.StatusCode.DATA_LOSS, ["float64"], lambda: self.deref(name))
        # The result that needs it is a miss, and computed again.
        self.fails(grpc.StatusCode.NOT_FOUND, [], lambda: get(self.server, answer.key))
        again = submit(self.server, job("makes", 1))
        self.assertEqual(again.outcome, jobs_pb2.GRANTED)
        missing = self.server.blobs.FindMissing(
            blobs_pb2.FindMissingRequest(caller=caller(), blobs=[name]))
        self.assertEqual(list(missing.blobs), [name])
        self.put(array)
        store(self.server, again, [refer(array)])
        self.assertEqual(submit(self.server, job("makes", 1)).outcome, jobs_pb2.RETRIEVED)
        self.assertEqual(self.deref(name)[1], array.tobytes())

    def test_a_slab_is_served_if_the_damage_lies_beside_it(self):
        array = numpy.random.default_rng(6).random((30, 70_000))  # a row takes half a checksum block
        name = self.put(array).name
        local = self.deref(name, local=True)[0].local
        self.server.stop()
        with open(local.path, "r+b") as pack:
            pack.seek(local.offset + array[:20].nbytes)
            pack.write(bytes(16))
        self.server.start()
        columns = (5, 60_000, 1)
        self.assertEqual(self.deref(name, [(0, 15, 1), columns])[1], array[:15, 5:60_005].tobytes())
        self.fails(grpc.StatusCode.DATA_LOSS, ["float64"], lambda: self.deref(name, [(0, 30, 1), columns]))
        self.put(array)
        self.assertEqual(self.deref(name, [(0, 30, 1), columns])[1], array[:, 5:60_005].tobytes())

    def test_a_pack_cut_while_it_is_mapped_fails_the_call_only(self):
        array = numpy.random.default_rng(5).random(800_000)
        name = self.put(array).name
        local = self.deref(name, local=True)[0].local
        self.assertEqual(self.deref(name, limit=10)[1], array.tobytes()[:10])  # mapped now
        os.truncate(local.path, local.offset + (2 << 20))
        self.fails(grpc.StatusCode.DATA_LOSS, ["cannot be read"], lambda: self.deref(name))
        self.server.admin.Describe(admin_pb2.DescribeRequest())
        self.put(array)
        self.assertEqual(self.deref(name)[1], array.tobytes())


class Limits(unittest.TestCase):
    def test_too_much_in_flight_is_told_with_a_time_to_retry(self):
        server = Server("--max-memory", str(16 << 20), "--stream-memory", str(8 << 20))
        self.addCleanup(server.close)
        array = numpy.zeros(300_000)
        done = threading.Event()

        def hold(seed):
            yield header(name_of(array + seed))
            done.wait()
        held = [server.blobs.Put.future(hold(i)) for i in range(2)]
        self.addCleanup(done.set)
        codes = []
        while not codes:  # until one has its share
            call = server.blobs.Put.future(iter([header(name_of(array + 9))]))
            try:
                call.result(timeout=60)
            except grpc.RpcError as error:
                if error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED:
                    codes.append(dict(call.trailing_metadata()))
        self.assertIn(b"google.rpc.RetryInfo", codes[0]["grpc-status-details-bin"])
        server.admin.Describe(admin_pb2.DescribeRequest())
        for call in held:
            call.cancel()

    def test_collect_waits_for_what_was_told_before_the_start(self):
        server = Server()
        self.addCleanup(server.close)
        with self.assertRaises(grpc.RpcError) as caught:
            server.admin.Collect(admin_pb2.CollectRequest())
        self.assertEqual(caught.exception.code(), grpc.StatusCode.FAILED_PRECONDITION)
        with self.assertRaises(grpc.RpcError) as caught:
            list(server.admin.Catalogue(admin_pb2.CatalogueRequest()))
        self.assertEqual(caught.exception.code(), grpc.StatusCode.PERMISSION_DENIED)


if __name__ == "__main__":
    unittest.main()
