"""One client of one job, to be killed: submits, waits or computes, and prints the result it got.

Computing means to wait for a line on standard input. Prints `granted`, `waiting`, `result RECORD`.
"""
import json, sys, uuid

import grpc
from support import caller, record
from tiffin.v1 import jobs_pb2, jobs_pb2_grpc


class Client:
    def __init__(self, address):
        self.address = address

    def again(self, call):
        """Calls until a server is there, at whatever time it comes back."""
        unready = 0
        while True:
            with grpc.insecure_channel(self.address) as channel:
                try:
                    # Connects once: a server killed just after that leaves the channel idle, and never ready.
                    grpc.channel_ready_future(channel).result(timeout=10)
                    return call(jobs_pb2_grpc.JobsStub(channel))
                except grpc.FutureTimeoutError:
                    unready += 1
                    if unready == 12:
                        raise
                except grpc.RpcError as error:
                    if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
                        raise

    def submit(self, job):
        options = jobs_pb2.SubmitOptions(can_compute=True)
        options.term.seconds = 1
        request = jobs_pb2.SubmitRequest(caller=caller(request_id=uuid.uuid4().hex),
                                         job=record(job), options=options)
        return self.again(lambda jobs: jobs.Submit(request))

    def wait(self, key):
        """The event that ends the wait."""
        request = jobs_pb2.AwaitRequest(caller=caller(), can_compute=True, capacity=1)
        request.term.seconds = 1
        request.items.add().job.key = key

        def listen(jobs):
            for event in jobs.Await(iter([request])):
                if event.event not in (jobs_pb2.AWAIT_ATTACHED, jobs_pb2.AWAIT_OPEN):
                    return event
            raise RuntimeError("the stream ended before the job")
        return self.again(listen)

    def store(self, key, lease, value):
        request = jobs_pb2.StoreResultRequest(caller=caller(), key=key, lease=lease.id,
                                              epoch=lease.epoch, record=record(value))
        try:
            self.again(lambda jobs: jobs.StoreResult(request))
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.ALREADY_EXISTS:
                raise
        name = jobs_pb2.JobName(key=key)
        return self.again(lambda jobs: jobs.GetResult(
            jobs_pb2.GetResultRequest(caller=caller(), job=name))).result


def main(address, job):
    client = Client(address)
    answer = client.submit(json.loads(job))
    result, lease = answer.result, answer.lease
    while answer.outcome != jobs_pb2.RETRIEVED:
        if not lease.id:
            print("waiting", flush=True)
            event = client.wait(answer.key)
            result, lease = event.result, event.lease
            if event.event == jobs_pb2.AWAIT_RESULT:
                break
        print("granted", flush=True)
        sys.stdin.readline()
        result = client.store(answer.key, lease, uuid.uuid4().hex)
        break
    print("result", result.record.json.decode(), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
