"""Where results came from and what was made of them; results that differ: told over gRPC and printed."""
import unittest

import grpc
import numpy

from blob_support import name_of, parts, ref_of, refer
from cli_support import CliCase, MISS, text_of
from support import caller, job, store, submit
from tiffin.v1 import jobs_pb2

NODE = {"_noodles": "0.3.0", "type": "<object>", "class": "noodles.workflow.model.FunctionNode",
        "data": {"function": "m.f", "arguments": [], "hints": None}}


def noodles(name, data):
    return {"_noodles": "0.3.0", "type": "<object>", "class": "noodles." + name, "data": data}


WORKFLOW = noodles("interface.decorator.PromisedObject", {
    "workflow": noodles("workflow.model.Workflow", {"root": 0, "nodes": [NODE], "links": []})})


class ProvenanceTest(CliCase):
    """make -> x; double(x) -> y; total(y) -> 1; both(x, y) -> 2; flow follows total."""

    def setUp(self):
        super().setUp()
        self.x, self.y = (numpy.arange(1000) * factor for factor in (1, 2))
        self.keys = {
            "make": self.done(job("m.make", 1000), self.x),
            "double": self.done(job("m.double", refer(self.x)), self.y),
            "total": self.done(job("m.total", refer(self.y)), 1),
            "both": self.done(job("m.both", refer(self.x), refer(self.y)), 2)}
        self.keys["flow"] = self.linked(job("m.flow"), self.keys["total"])

    def done(self, one, result):
        answer = submit(self.server, one)
        if isinstance(result, numpy.ndarray):
            self.server.blobs.Put(parts(name_of(result), result.tobytes()))
            result = refer(result)
        store(self.server, answer, result)
        return answer.key

    def linked(self, one, target):
        answer = submit(self.server, one)
        store(self.server, answer, WORKFLOW)
        self.server.jobs.Link(jobs_pb2.LinkRequest(caller=caller(), key=answer.key,
                                                   lease=answer.lease.id, target=target))
        return answer.key

    def related(self, title, *jobs):
        """The lines of a table of related jobs: (which, blob, or None for a link)."""
        return [[title, "function", "by"]] + [
            [text_of(self.keys[which]), "m." + which] +
            (["link"] if blob is None else ["blob", text_of(name_of(blob).key)])
            for which, blob in jobs]

    def shown(self, which, *options):
        """The fields that `show` prints, and the words of each line of the tables below them."""
        fields, *tables = self.cli("show", text_of(self.keys[which]), *options).split("\n\n")
        return (dict(line.split(None, 1) for line in fields.splitlines()),
                [[line.split() for line in table.splitlines()] for table in tables])

    def test_show_prints_which_jobs_made_what_it_used_and_use_what_it_made(self):
        fields, tables = self.shown("double", "--inputs", "--outputs")
        self.assertEqual(fields["key"], text_of(self.keys["double"]))
        self.assertEqual((fields["function"], fields["state"]), ("m.double", "done"))
        self.assertEqual(tables, [self.related("input", ("make", self.x)),
                                  self.related("output", ("total", self.y), ("both", self.y))])

    def test_show_prints_one_way_if_asked_for_one_and_none_if_for_none(self):
        inputs = self.related("input", ("make", self.x), ("double", self.y))
        self.assertEqual(self.shown("both", "--inputs")[1], [inputs])
        self.assertEqual(self.shown("both", "--outputs")[1], [])
        self.assertEqual(self.shown("make", "--inputs")[1], [])
        self.assertEqual(self.shown("make", "--outputs")[1],
                         [self.related("output", ("double", self.x), ("both", self.x))])
        self.assertEqual(self.shown("double")[1], [])

    def test_links_are_inputs_and_outputs_too(self):
        fields, tables = self.shown("flow", "--inputs", "--outputs")
        self.assertEqual(tables, [self.related("input", ("total", None))])
        self.assertEqual(fields["state"], "linked")
        self.assertIn(text_of(self.keys["total"]), fields["linked"])
        self.assertEqual(self.shown("total", "--inputs", "--outputs")[1],
                         [self.related("input", ("double", self.y)),
                          self.related("output", ("flow", None))])

    def test_scripts_get_the_same_as_json(self):
        (shown,) = self.lines("show", text_of(self.keys["double"]), "--inputs", "--outputs")
        blobs = [ref_of(name_of(array))["data"] for array in (self.x, self.y)]
        for blob in blobs:
            blob["key"] = blob.pop("hdf5_path")
        self.assertEqual((shown["used"], shown["made"]), (blobs[:1], blobs[1:]))
        self.assertEqual(shown["inputs"], [{"key": text_of(self.keys["make"]), "function": "m.make",
                                            "blob": blobs[0]}])
        self.assertEqual([(o["function"], o["blob"]) for o in shown["outputs"]],
                         [("m.total", blobs[1]), ("m.both", blobs[1])])
        (shown,) = self.lines("show", text_of(self.keys["double"]))
        self.assertEqual((shown["inputs"], shown["outputs"]), ([], []))

    def test_the_chain_goes_where_its_beginning_goes(self):
        self.cli("invalidate", "--cascade", text_of(self.keys["make"]))
        self.assertEqual([line["state"] for line in self.lines("ls")], ["absent"] * 5)
        # What it used stays known; who made that is known again when it is made again.
        self.assertEqual(self.shown("double", "--inputs")[1], [])
        self.done(job("m.make", 1000), self.x)
        self.assertEqual(self.shown("double", "--inputs")[1], [self.related("input", ("make", self.x))])
        self.assertEqual(self.shown("make", "--outputs")[1],
                         [self.related("output", ("double", self.x), ("both", self.x))])

    def test_a_job_nobody_submitted_is_not_shown(self):
        self.cli("show", text_of(bytes(32)), "--inputs", code=MISS)


class NondeterminismTest(CliCase):
    def differs(self, answer, value, **who):
        """Stores another value for a done job; the text of its digest."""
        with self.assertRaises(grpc.RpcError) as caught:
            self.server.jobs.StoreResult(jobs_pb2.StoreResultRequest(
                caller=caller(**who), key=answer.key, epoch=answer.lease.epoch,
                record={"json": str(value).encode()}))
        self.assertEqual(caught.exception.code(), grpc.StatusCode.ALREADY_EXISTS)
        return self.digest_of(value)

    def digest_of(self, value):
        """A result's digest is of the value alone."""
        return text_of(store(self.server, submit(self.server, job("digest", value)), value).digest)

    def done(self, *arguments):
        answer = submit(self.server, job("m.random", *arguments), host="first")
        store(self.server, answer, 1)
        return answer

    def test_it_is_listed_and_shown_with_who_stored_what(self):
        self.done("same")
        answer = self.done("differs")
        digests = [self.differs(answer, 2, host="second"), self.differs(answer, 3, host="third")]
        (line,) = self.lines("ls", "--nondeterministic")
        self.assertEqual(line["key"], text_of(answer.key))
        self.assertEqual([(e["digest"], e["session"]["host"]) for e in line["evidence"]],
                         list(zip(digests, ["second", "third"])))
        table = self.cli("show", line["key"]).split("\n\n")[1].splitlines()
        self.assertEqual(table[0].split(), ["other", "result", "from", "at"])
        self.assertEqual([line.split()[0] for line in table[1:]], digests)
        self.assertIn("second", table[1])
        self.assertIn("third", table[2])
        header, row = self.cli("ls", "--nondeterministic").splitlines()
        self.assertEqual(row.split()[:3], [line["key"], "done", "m.random"])
        # What was stored first stays.
        self.assertEqual(self.cli("get", line["key"]), "1\n")

    def test_who_repeats_a_value_is_no_evidence(self):
        answer = self.done("differs")
        for _ in range(3):
            digest = self.differs(answer, 2)
            self.assertTrue(store(self.server, answer, 1).repeated_store)
        (line,) = self.lines("ls", "--nondeterministic")
        self.assertEqual([e["digest"] for e in line["evidence"]], [digest])
        self.assertEqual(self.lines("stats")[0]["nondeterministic"], 1)

    def test_nothing_is_listed_where_nothing_differed(self):
        answer = self.done("same")
        self.assertEqual(self.cli("ls", "--nondeterministic"), "")
        self.assertEqual(self.lines("ls", "--nondeterministic"), [])
        self.assertNotIn("other result", self.cli("show", text_of(answer.key)))

    def test_evidence_outlives_a_restart_and_the_result(self):
        answer = self.done("differs")
        digest = self.differs(answer, 2)
        self.server.stop()
        self.server.start(listen=self.server.address)
        self.cli("invalidate", text_of(answer.key))
        (line,) = self.lines("ls", "--nondeterministic")
        self.assertEqual((line["state"], line["evidence"][0]["digest"]), ("absent", digest))


if __name__ == "__main__":
    unittest.main()
