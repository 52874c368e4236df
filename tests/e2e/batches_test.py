"""Batches are streams: of any length, in messages of about 1 MiB, made as the client reads them."""
import threading, unittest

import grpc
from tiffin.v1 import blobs_pb2, common_pb2, jobs_pb2
from support import Server, batch, caller, job, record, store, submit

MIB = 1 << 20


class BatchesTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server()

    @classmethod
    def tearDownClass(cls):
        cls.server.close()

    def names(self, count, size):
        """Jobs done with strings of that size; each holds its number."""
        names = []
        for i in range(count):
            answer = submit(self.server, job("sized", size, i))
            store(self.server, answer, "%08d" % i + "x" * (size - 8))
            names.append(jobs_pb2.JobName(key=answer.key))
        return names

    def test_results_come_in_messages_of_about_a_mebibyte(self):
        names = self.names(40, 300_000)
        request = jobs_pb2.BatchGetResultsRequest(caller=caller(), jobs=names)
        answers = list(self.server.jobs.BatchGetResults(iter([request])))
        self.assertGreater(len(answers), 8)
        for answer in answers:
            self.assertLess(answer.ByteSize(), 1.5 * MIB)
        for answer in answers[:-1]:
            self.assertGreaterEqual(answer.ByteSize(), MIB)
        items = [item for answer in answers for item in answer.items]
        self.assertEqual([int(i.result.record.json[1:9]) for i in items], list(range(40)))

    def test_results_with_long_logs_are_looked_up_once(self):
        names = []
        for i in range(100):
            answer = submit(self.server, job("logged", i))
            store(self.server, answer, i, log="l" * 65536)
            names.append(jobs_pb2.JobName(key=answer.key))
        request = jobs_pb2.BatchGetResultsRequest(caller=caller(), jobs=names)
        answers = list(self.server.jobs.BatchGetResults(iter([request])))
        for answer in answers:
            self.assertLess(answer.ByteSize(), 1.5 * MIB)
        self.assertEqual(sum(len(answer.items) for answer in answers), 100)
        info = self.server.jobs.GetJob(jobs_pb2.GetJobRequest(caller=caller(), job=names[-1])).job
        # Counted when it is looked up; one that did not fit may be looked up again.
        self.assertLessEqual(info.hits, 2)

    def test_one_stream_takes_many_messages(self):
        names = self.names(5, 100)
        absent = jobs_pb2.JobName(key=bytes(32))
        requests = [jobs_pb2.BatchGetResultsRequest(jobs=[name, absent]) for name in names * 20]
        requests[0].caller.CopyFrom(caller())
        requests.insert(7, jobs_pb2.BatchGetResultsRequest())  # nothing asked, nothing answered
        items = batch(self.server.jobs.BatchGetResults, *requests)
        self.assertEqual(len(items), 200)
        for i, item in enumerate(items):
            if i % 2:
                self.assertEqual(item.status.code, grpc.StatusCode.NOT_FOUND.value[0])
            else:
                self.assertEqual(int(item.result.record.json[1:9]), i // 2 % 5)

    def test_a_reader_that_stops_holds_nobody_up(self):
        names = self.names(30, 5 * MIB)
        request = jobs_pb2.BatchGetResultsRequest(caller=caller(), jobs=names * 10)
        slow = [self.server.jobs.BatchGetResults(iter([request])) for _ in range(20)]
        for stream in slow:
            next(stream)  # and no more
        batch(self.server.jobs.BatchGetResults,
              jobs_pb2.BatchGetResultsRequest(caller=caller(), jobs=names[:3]))
        for stream in slow:
            stream.cancel()

    def test_an_empty_stream_is_answered(self):
        for rpc in (self.server.jobs.BatchGetResults, self.server.blobs.BatchPut,
                    self.server.blobs.BatchDeref):
            self.assertEqual(list(rpc(iter([]))), [])

    def test_batched_hits_beyond_the_budget_are_only_said_to_be_there(self):
        jobs = [job("sized", 5 * MIB + 1, i) for i in range(4)]
        self.names(4, 5 * MIB + 1)
        request = jobs_pb2.SubmitBatchRequest(caller=caller(), jobs=[record(j) for j in jobs])
        items = batch(self.server.jobs.SubmitBatch, request)
        self.assertEqual([i.response.outcome for i in items], [jobs_pb2.RETRIEVED] * 4)
        self.assertEqual([i.response.present for i in items], [False, False, True, True])
        self.assertEqual([i.response.HasField("result") for i in items], [True, True, False, False])

    def put(self, arrays):
        """Blobs put in messages of three."""
        items = [blobs_pb2.BatchPutRequest.Item(
            name=common_pb2.BlobName(dtype="uint8", shape=[len(a)]), data=a) for a in arrays]
        requests = [blobs_pb2.BatchPutRequest(items=items[i:i + 3])
                    for i in range(0, len(items), 3)]
        requests[0].caller.CopyFrom(caller())
        return batch(self.server.blobs.BatchPut, *requests)

    def test_small_blobs_go_in_and_out(self):
        arrays = [bytes([i]) * (200_000 + i) for i in range(20)]
        names = [item.response.name for item in self.put(arrays)]
        again = self.put(arrays)
        self.assertTrue(all(item.response.existed for item in again))
        large = b"L" * (17 * MIB)
        header = blobs_pb2.PutRequest.Header(
            caller=caller(), name=common_pb2.BlobName(dtype="uint8", shape=[len(large)]))
        chunks = [blobs_pb2.PutRequest(header=header)] + [
            blobs_pb2.PutRequest(chunk=large[i:i + MIB]) for i in range(0, len(large), MIB)]
        names.insert(4, self.server.blobs.Put(iter(chunks)).name)
        request = blobs_pb2.BatchDerefRequest(
            caller=caller(), refs=[blobs_pb2.BlobRef(name=name) for name in names])
        items = batch(self.server.blobs.BatchDeref, request)
        self.assertTrue(items[4].present)
        self.assertEqual((items[4].data, items[4].header.size), (b"", len(large)))
        del items[4]
        self.assertEqual([item.data for item in items], arrays)

    def test_a_drain_ends_open_batches(self):
        server = Server()
        self.addCleanup(server.close)
        go_on = threading.Event()

        def requests():
            yield blobs_pb2.BatchDerefRequest(caller=caller(), refs=[blobs_pb2.BlobRef(key=bytes(32))])
            go_on.wait(60)
        stream = server.blobs.BatchDeref(requests())
        next(stream)
        self.assertEqual(server.stop(), 0)
        with self.assertRaises(grpc.RpcError) as caught:
            next(stream)
        go_on.set()
        self.assertEqual(caught.exception.code(), grpc.StatusCode.UNAVAILABLE)


if __name__ == "__main__":
    unittest.main()
