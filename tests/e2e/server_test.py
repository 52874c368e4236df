"""What the server promises, through the wire, with the real binary."""
import base64, glob, io, json, os, signal, subprocess, sys, threading, unittest

import grpc
import h5py
import numpy

from support import Server, batch, caller, get, job, record, store, submit
from tiffin.v1 import admin_pb2, blobs_pb2, common_pb2, jobs_pb2

HERE = os.path.dirname(os.path.abspath(__file__))
NOODLES = {"_noodles": "0.3.0", "type": "<object>"}


def npy(array):
    out = io.BytesIO()
    numpy.save(out, array)
    return base64.b64encode(out.getvalue()).decode()


def deref(server, ref, **members):
    messages = list(server.blobs.Deref(blobs_pb2.DerefRequest(
        caller=caller(), ref=blobs_pb2.BlobRef(record=record(ref)), **members)))
    return messages[0].header, b"".join(m.chunk for m in messages[1:])


class ServerTest(unittest.TestCase):
    def setUp(self):
        self.server = Server("--min-term", "0.5")
        self.addCleanup(self.server.close)

    def fails(self, code, text, call):
        with self.assertRaises(grpc.RpcError) as caught:
            result = call()
            if hasattr(result, "__iter__"):
                list(result)
        self.assertEqual(caught.exception.code(), code, caught.exception.details())
        self.assertIn(text, caught.exception.details())
        # It keeps serving.
        self.server.admin.Describe(admin_pb2.DescribeRequest())

    def test_a_worker_in_python_with_nothing_but_the_proto(self):
        out = subprocess.run([sys.executable, os.path.join(HERE, "worker.py"),
                              self.server.address], capture_output=True, text=True, timeout=120)
        self.assertEqual(out.returncode, 0, out.stderr)
        self.assertIn("4Z8kdMg-CbjgTKKYlz6b-_-Tsda5VAJL44OheRB10mU=", out.stdout)

    def test_a_large_array_becomes_a_ref_that_h5py_reads(self):
        array = numpy.arange(131072, dtype="float64").reshape(256, 512)
        answer = submit(self.server, job("f", 1))
        sent = dict(NOODLES, **{"class": "numpy.ndarray", "data": npy(array)})
        store(self.server, answer, {"nested": [sent]})
        text = get(self.server, answer.key).record.json
        self.assertLess(len(text), 1024)
        ref = json.loads(text)["nested"][0]
        header, data = deref(self.server, ref)
        self.assertEqual((header.name.dtype, list(header.name.shape)), ("float64", [256, 512]))
        self.assertEqual(data, array.tobytes())
        self.assertEqual(deref(self.server, ref, offset=1 << 19, limit=10)[1],
                         array.tobytes()[1 << 19:(1 << 19) + 10])
        inline = json.loads(get(self.server, answer.key, bulk=2).record.json)
        self.assertEqual(inline, {"nested": [sent]})
        self.server.admin.Seal(admin_pb2.SealRequest())
        found = []
        for path in glob.glob(self.server.data + "/packs/*/*.h5"):
            with h5py.File(path) as pack:
                if ref["data"]["hdf5_path"] in pack:
                    found.append(pack[ref["data"]["hdf5_path"]][...])
        self.assertEqual(len(found), 1)
        self.assertEqual((found[0].dtype, found[0].shape), (array.dtype, array.shape))
        numpy.testing.assert_array_equal(found[0], array)

    def test_a_marked_value_becomes_a_ref_and_comes_back_equal(self):
        data = {"w": [[i, float(i), str(i)] for i in range(50000)]}
        answer = submit(self.server, job("f", 2))
        sent = {"_noodles": "0.3.0", "type": "<automagic>", "class": "m.Model", "data": data,
                "ref": True}
        store(self.server, answer, sent)
        text = get(self.server, answer.key).record.json
        self.assertLess(len(text), 1024)
        header, json_text = deref(self.server, json.loads(text))
        self.assertTrue(header.json)
        self.assertEqual(json.loads(json_text), data)
        self.assertEqual(json.loads(get(self.server, answer.key, bulk=2).record.json), sent)

    def test_a_lease_of_a_killed_holder_goes_to_the_waiter(self):
        first = submit(self.server, job("f", 3), term=1, host="killed")
        self.assertEqual(submit(self.server, job("f", 3)).outcome, jobs_pb2.ATTACHED)
        item = jobs_pb2.AwaitRequest.Item(job=jobs_pb2.JobName(key=first.key))
        request = jobs_pb2.AwaitRequest(caller=caller(), can_compute=True, capacity=1, items=[item])
        events = list(self.server.jobs.Await(iter([request]), timeout=60))
        self.assertEqual(events[0].event, jobs_pb2.AWAIT_ATTACHED)
        self.assertEqual(events[0].holder.host, "killed")
        self.assertEqual(events[-1].event, jobs_pb2.AWAIT_GRANTED)
        self.assertGreater(events[-1].lease.epoch, first.lease.epoch)

    def test_what_was_acknowledged_survives_kill_9(self):
        answers = [submit(self.server, job("g", i), request_id=f"r{i}") for i in range(300)]
        acknowledged = []

        def stores():
            try:
                for i, answer in enumerate(answers):
                    store(self.server, answer, {"value": i, "pad": "x" * 2000})
                    acknowledged.append(i)
            except grpc.RpcError:
                pass

        thread = threading.Thread(target=stores)
        thread.start()
        while thread.is_alive() and len(acknowledged) < 100:
            pass
        self.server.stop(signal.SIGKILL)
        thread.join()
        self.server.start()
        self.assertGreaterEqual(len(acknowledged), 100)
        for i in acknowledged:
            self.assertEqual(json.loads(get(self.server, answers[i].key).record.json)["value"], i)
        held = 0
        for i, answer in enumerate(answers):
            if i in acknowledged:
                continue
            again = submit(self.server, job("g", i), request_id=f"r{i}")
            if again.outcome == jobs_pb2.RETRIEVED:
                continue  # stored, the answer was lost
            self.assertEqual(again.lease.id, answer.lease.id)
            held += 1
        print("acknowledged", len(acknowledged), "still held", held)

    def test_sigterm_ends_waiters_and_the_result_is_there_after(self):
        done = submit(self.server, job("f", 4))
        store(self.server, done, 1)
        answer = submit(self.server, job("f", 5))
        item = jobs_pb2.AwaitRequest.Item(job=jobs_pb2.JobName(key=answer.key))
        stream = self.server.jobs.Await(iter([jobs_pb2.AwaitRequest(caller=caller(), items=[item])]))
        self.assertEqual(next(stream).event, jobs_pb2.AWAIT_ATTACHED)
        self.server.process.send_signal(signal.SIGTERM)
        with self.assertRaises(grpc.RpcError) as caught:
            next(stream)
        self.assertEqual(caught.exception.code(), grpc.StatusCode.UNAVAILABLE)
        self.assertEqual(self.server.stop(), 0)
        self.server.start()
        self.assertEqual(submit(self.server, job("f", 4)).outcome, jobs_pb2.RETRIEVED)

    def test_a_second_server_on_the_folder_is_refused(self):
        out = subprocess.run([os.environ["TIFFIN_SERVER_BINARY"], "--data", self.server.data,
                              "--listen", "127.0.0.1:0"], capture_output=True, text=True, timeout=60)
        self.assertEqual(out.returncode, 1)
        self.assertIn("another server owns the data folder", out.stderr)

    def test_batches(self):
        requests = [jobs_pb2.SubmitBatchRequest(
            caller=caller(), options=jobs_pb2.SubmitOptions(can_compute=True), max_grants=3,
            jobs=[record(job("b", i)) for i in range(5)] + [record({"function": "b"})])]
        items = [i for r in self.server.jobs.SubmitBatch(iter(requests)) for i in r.items]
        self.assertEqual([i.index for i in items], list(range(6)))
        self.assertEqual([i.response.outcome for i in items[:5]],
                         [jobs_pb2.GRANTED] * 3 + [jobs_pb2.OPEN] * 2)
        self.assertIn("arguments", items[5].status.message)
        store(self.server, items[0].response, 7)
        names = [jobs_pb2.JobName(key=i.response.key) for i in items[:2]]
        got = batch(self.server.jobs.BatchGetResults,
                    jobs_pb2.BatchGetResultsRequest(caller=caller(), jobs=names))
        self.assertEqual(got[0].result.record.json, b"7")
        self.assertEqual(got[1].status.code, grpc.StatusCode.NOT_FOUND.value[0])

    def test_bad_input_is_named(self):
        s, bad = self.server, grpc.StatusCode
        raw = lambda text: common_pb2.Record(json=text)
        def send(text):
            return lambda: s.jobs.Submit(jobs_pb2.SubmitRequest(caller=caller(), job=raw(text)))
        self.fails(bad.INVALID_ARGUMENT, "job", send(b"nonsense"))
        self.fails(bad.INVALID_ARGUMENT, "200", send(b"[" * 300 + b"]" * 300))
        self.fails(bad.INVALID_ARGUMENT, "extra",
                   send(b'{"function": 1, "arguments": [], "extra": 1}'))
        self.fails(bad.FAILED_PRECONDITION, "__main__",
                   send(b'{"function": "__main__.f", "arguments": []}'))
        ref = dict(NOODLES, **{"class": "numpy.ndarray", "ref": True, "data": {
            "hdf5_path": "A" * 43 + "=", "dtype": "int64", "shape": [1, -1]}})
        self.fails(bad.INVALID_ARGUMENT, "shape", send(json.dumps(job("f", [ref])).encode()))
        self.fails(bad.INVALID_ARGUMENT, "job.key", lambda: get(s, b"short"))
        self.fails(bad.NOT_FOUND, "never submitted", lambda: get(s, b"k" * 32))
        answer = submit(s, job("f", 9))
        ref["data"]["shape"] = [1]
        self.fails(bad.FAILED_PRECONDITION, "absent", lambda: store(s, answer, ref))
        stale = jobs_pb2.StoreResultRequest(caller=caller(), key=answer.key, lease=b"x",
                                            epoch=answer.lease.epoch + 99, record=record(1))
        self.fails(bad.FAILED_PRECONDITION, "epoch", lambda: s.jobs.StoreResult(stale))
        self.fails(bad.FAILED_PRECONDITION, "unfolding", lambda: s.jobs.Link(jobs_pb2.LinkRequest(
            caller=caller(), key=answer.key, lease=answer.lease.id, target=answer.key)))
        self.fails(bad.NOT_FOUND, "no alias", lambda: s.jobs.Alias(jobs_pb2.AliasRequest(
            caller=caller(), delete=jobs_pb2.AliasName(profile="p", name="n"))))

        def put(dtype, shape, data, key=b""):
            header = blobs_pb2.PutRequest.Header(caller=caller(), name=common_pb2.BlobName(
                key=key, dtype=dtype, shape=shape))
            return lambda: s.blobs.Put(iter([blobs_pb2.PutRequest(header=header),
                                             blobs_pb2.PutRequest(chunk=data)]))
        self.fails(bad.INVALID_ARGUMENT, "key", put("uint8", [4], b"abcd", b"k" * 32))
        self.fails(bad.INVALID_ARGUMENT, "3 of 4", put("uint8", [4], b"abc"))
        self.fails(bad.INVALID_ARGUMENT, "more than", put("uint8", [4], b"abcde"))
        self.fails(bad.INVALID_ARGUMENT, "shape", put("float64", [1 << 60, 1 << 60], b""))
        self.fails(bad.INVALID_ARGUMENT, "dtype", put("quaternion", [1], b""))
        by_key = blobs_pb2.BlobRef(key=b"k" * 32)
        self.fails(bad.NOT_FOUND, "no blob", lambda: s.blobs.Deref(
            blobs_pb2.DerefRequest(caller=caller(), ref=by_key)))
        self.fails(bad.NOT_FOUND, "no blob", lambda: s.blobs.Stat(
            blobs_pb2.StatRequest(caller=caller(), ref=by_key)))
        on_host = dict(NOODLES, **{"class": "numpy.ndarray", "ref": True, "host": "node1",
                                   "files": ["a.npy"], "data": "a.npy"})
        self.fails(bad.FAILED_PRECONDITION, "node1", lambda: s.blobs.Deref(blobs_pb2.DerefRequest(
            caller=caller(), ref=blobs_pb2.BlobRef(record=record(on_host)))))
        self.fails(bad.INVALID_ARGUMENT, "namespace", lambda: submit(s, job("f", 1), "a b"))

    def test_counters_and_description(self):
        answer = submit(self.server, job("f", 1))
        store(self.server, answer, 1)
        submit(self.server, job("f", 1))
        stats = self.server.admin.Stats(admin_pb2.StatsRequest(caller=caller()))
        self.assertEqual((stats.jobs, stats.done, stats.granted, stats.retrieved), (1, 1, 1, 1))
        described = self.server.admin.Describe(admin_pb2.DescribeRequest(caller=caller()))
        self.assertEqual(described.job_key_scheme, "tiffin.job/1")


if __name__ == "__main__":
    unittest.main()
