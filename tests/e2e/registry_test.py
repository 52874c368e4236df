"""The Registry, seen through the wire: what the server knows, takes, refuses and gives back."""
import base64, collections, copy, glob, io, json, os, re, subprocess, unittest

import grpc
import h5py
import numpy

from support import Server, caller, get, job, record, store, submit
from tiffin.v1 import admin_pb2, blobs_pb2, common_pb2, jobs_pb2

DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data")
SPECTRA = os.environ["TIFFIN_SPECTRA_PLUGIN"]
NOODLES = {"_noodles": "0.3.0"}


def lines(name):
    with open(os.path.join(DATA, name)) as file:
        return [json.loads(line) for line in file]


def golden(kind):
    """Name and text of the jobs, or messages, of noodles-golden.json, by both printers."""
    with open(os.path.join(DATA, "noodles-golden.json")) as file:
        for profile in json.load(file)["profiles"].values():
            for name, printed in profile[kind].items():
                yield name, printed["text"] if kind == "jobs" else printed


def all_texts():
    """Every record of the data files, as it was printed."""
    found = [json.dumps(line["record"]) for line in lines("noodles-types.jsonl")
             if "record" in line]
    for line in lines("noodles-jobs.jsonl"):
        found += [json.dumps(line[member]) for member in ("job", "result")
                  if line.get(member) is not None]
    return found + [text for kind in ("jobs", "messages") for _, text in golden(kind)]


def records_in(value):
    """The records in a value, at any depth."""
    if isinstance(value, dict):
        if "_noodles" in value:
            yield value
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from records_in(item)


def kind_of(record):
    """What the server finds the serialiser by."""
    return record["class"] if record["type"] == "<object>" else record["type"]


def fault(error):
    """What is wrong with a malformed record."""
    if error.endswith(": is missing"):
        return "missing"
    if re.search(r", found \d+( items)?$|: npy: \d+ bytes of data instead of ", error):
        return "length"
    if re.search(r", found (null|integer|double|string|list|object|a record .*)$", error):
        return "kind"
    return "content"


def has_kind(errors, path):
    """Whether one of the errors is of what has the wrong kind there."""
    return any(e.startswith(path + ": expected ") and fault(e) == "kind" for e in errors)


# Of the types that Noodles writes, those that the server does not know: their data may be anything.
ANY_DATA = {"builtins.ValueError", "builtins.function", "builtins.range", "fixtures.MyDict",
            "fixtures.Plain"}
# Those whose members have names of the user's own.
ANY_MEMBERS = {"<automagic>", "<dataclass>", "collections.OrderedDict", "fixtures.MyDict"}
# Those without a length that could be wrong.
ANY_LENGTH = ANY_DATA | ANY_MEMBERS | {
    "<boundmethod>", "<importable>", "<namedtuple>", "<unwrapped>", "builtins.bytes",
    "builtins.complex", "builtins.frozenset", "builtins.set", "builtins.tuple",
    "noodles.interface.decorator.PromisedObject", "noodles.interface.functions.Quote",
    "noodles.run.messages.JobMessage", "noodles.run.messages.ResultMessage", "noodles.workflow.arguments.ArgumentAddress",
    "noodles.workflow.arguments.ArgumentKind", "noodles.workflow.model.Workflow",
    "pathlib.PosixPath"}
# Members that may be missing, and those that may be of any kind.
OPTIONAL = {("noodles.workflow.model.FunctionNode", "hints")}
ANY_KIND = {("<boundmethod>", "self"), ("noodles.interface.maybe.Fail", "exception"),
            ("noodles.run.messages.JobMessage", "key"),
            ("noodles.run.messages.ResultMessage", "key"),
            ("noodles.run.messages.ResultMessage", "msg"),
            ("noodles.run.messages.ResultMessage", "value"),
            ("noodles.workflow.arguments.ArgumentAddress", "key"),
            ("noodles.workflow.model.FunctionNode", "function")}


def submit_text(server, text, namespace="default"):
    return server.jobs.Submit(jobs_pb2.SubmitRequest(
        caller=caller(namespace), job=common_pb2.Record(json=text.encode()),
        options=jobs_pb2.SubmitOptions(can_compute=True)))


def npy(array):
    out = io.BytesIO()
    numpy.save(out, array)
    return base64.b64encode(out.getvalue()).decode()


def in_c_order(value, least):
    """The value with arrays of Fortran order as C order: those that left their record come back so."""
    if isinstance(value, list):
        return [in_c_order(item, least) for item in value]
    if not isinstance(value, dict):
        return value
    data = value.get("data")
    if isinstance(data, str) and data.startswith("k05VTVBZ") and len(base64.b64decode(data)) >= least:
        array = numpy.load(io.BytesIO(base64.b64decode(data)))
        return dict(value, data=npy(numpy.ascontiguousarray(array).reshape(array.shape)))
    return {name: in_c_order(member, least) for name, member in value.items()}


def but_for_refs(sent, got):
    """What was sent, where tiffin put refs with those refs: it must equal what came back."""
    if isinstance(sent, list) and isinstance(got, list) and len(sent) == len(got):
        return [but_for_refs(*pair) for pair in zip(sent, got)]
    if not isinstance(sent, dict) or not isinstance(got, dict):
        return sent
    data = got.get("data")
    left = isinstance(data, dict) and sent.get("data") != data and set(data) in (
        {"hdf5_path", "dtype", "shape"}, {"value", "size"})
    if "_noodles" not in sent or not left:
        return {name: but_for_refs(member, got.get(name)) for name, member in sent.items()}
    out = {}
    for name, member in sent.items():
        if name == "data" and not sent.get("ref"):
            out["ref"] = True  # tiffin's own stands directly before
        if name not in ("host", "files") and (name != "ref" or member):
            out[name] = data if name == "data" else member
    return out


class RegistryTest(unittest.TestCase):
    def start(self, *flags):
        server = Server(*flags)
        self.addCleanup(server.close)
        return server

    def error_of(self, call):
        with self.assertRaises(grpc.RpcError) as caught:
            call()
        self.assertEqual(caught.exception.code(), grpc.StatusCode.INVALID_ARGUMENT)
        return caught.exception.details()

    def refused(self, text, call):
        self.assertIn(text, self.error_of(call))

    def test_every_record_passes_and_comes_back_equal(self):
        for limit in ("64", "4096"):
            server = self.start("--inline-limit", limit)
            refs_made = 0
            for number, text in enumerate(all_texts()):
                sent = json.loads(text)
                answer = submit_text(
                    server, '{"function":"m.f","arguments":[%d,%s]}' % (number, text), "there")
                server.jobs.StoreResult(jobs_pb2.StoreResultRequest(
                    caller=caller("there"), key=answer.key, lease=answer.lease.id,
                    epoch=answer.lease.epoch, record=common_pb2.Record(json=text.encode()),
                    kind=jobs_pb2.RESULT_KIND_VALUE))
                refs = json.loads(get(server, answer.key, "there").record.json)
                inline = json.loads(get(server, answer.key, "there", bulk=2).record.json)
                self.assertEqual(json.dumps(inline), json.dumps(in_c_order(sent, int(limit))))
                self.assertEqual(json.dumps(refs), json.dumps(but_for_refs(sent, refs)))
                refs_made += json.dumps(refs) != json.dumps(sent)
                # By ref, or printed by another, it is the same job.
                for same in (refs, sent):
                    again = submit(server, job("m.f", number, same), namespace="there")
                    self.assertEqual((again.key, again.outcome), (answer.key, jobs_pb2.RETRIEVED))
            self.assertGreater(refs_made, 2)

    def test_every_record_may_be_marked_to_leave_and_is_the_same_argument(self):
        server = self.start()
        records = {json.dumps(record): record for text in all_texts() for record in records_in(json.loads(text))}
        left = 0
        for number, record in enumerate(records.values()):
            if record.get("files"):  # a mark would be of its files
                continue
            plain = submit(server, job("m.f", number, record), namespace="marked")
            store(server, plain, number, namespace="marked")
            marked = dict(record, ref=True)
            again = submit(server, job("m.f", number, marked), namespace="marked")
            self.assertEqual((again.key, again.outcome), (plain.key, jobs_pb2.RETRIEVED))
            kept = submit(server, job("m.kept", number), namespace="marked")
            store(server, kept, marked, namespace="marked", kind=jobs_pb2.RESULT_KIND_VALUE)
            stored = json.loads(get(server, kept.key, "marked").record.json)
            left += stored["data"] != record["data"]
            if stored["data"] != record["data"]:
                of_ref = submit(server, job("m.f", number, stored), namespace="marked")
                self.assertEqual((of_ref.key, of_ref.outcome), (plain.key, jobs_pb2.RETRIEVED))
                inline = json.loads(get(server, kept.key, "marked", bulk=2).record.json)
                self.assertEqual(inline["data"], in_c_order(record, 0)["data"])  # at any size
        self.assertGreater(left, 300)

    def test_recorded_jobs_have_one_key_whoever_printed_them(self):
        server = self.start()
        keys, texts = collections.defaultdict(set), []
        # The job message is around the job "ints".
        messages = [("ints", text) for name, text in golden("messages") if name == "job"]
        for name, text in list(golden("jobs")) + messages:
            texts.append(text)
            keys[name] |= {submit_text(server, printed).key
                           for printed in (text, json.dumps(json.loads(text)))}
        self.assertEqual({len(found) for found in keys.values()}, {1}, keys)
        self.assertEqual((len(keys), len(set.union(*keys.values()))), (32, 32))
        told = subprocess.run([os.environ["TIFFIN_CLI_BINARY"], "key"], input="\n".join(texts),
                              capture_output=True, text=True, timeout=60)
        self.assertEqual(told.returncode, 0, told.stderr)
        self.assertEqual({base64.urlsafe_b64decode(line) for line in told.stdout.split()},
                         set.union(*keys.values()))
        self.assertEqual(len(told.stdout.split()), len(texts))

    def test_refs_to_files_come_back_as_they_were(self):
        array = dict(NOODLES, type="<object>", **{
            "class": "numpy.ndarray", "data": npy(numpy.arange(100))})
        of_files = {"ref": True, "host": "node1", "files": ["out.dat", "b.dat"]}

        def sent(kind, name, data, **members):
            return dict(NOODLES, type=kind, **{"class": name, "data": data, **of_files, **members})

        opaque = base64.b64encode(b"x" * 1000).decode()
        records = [
            sent("<automagic>", "m.A", "out.dat"),
            sent("<automagic>", "m.A", {"value": 1.5, "size": 7}, host=None),
            sent("<automagic>", "m.A", {"value": "a title", "size": 7}),
            sent("<dataclass>", "m.B", {"file": "out.dat", "table": [array]}),
            sent("<object>", "m.C", opaque), sent("<object>", "builtins.bytes", opaque),
            sent("<object>", "pathlib.PosixPath", "out.dat", host=None, files=["out.dat"]),
            sent("<object>", "numpy.ndarray", "a.npy", files=["a.npy"]),
            sent("<object>", "numpy.ndarray", {"filename": "a.h5", "hdf5_path": "x"}),
            sent("<object>", "numpy.ndarray", {"filename": "a.h5", "path": "x"}, ref=False),
            dict(of_files, data={"of": array}, **NOODLES, type="<automagic>", **{"class": "m.A"})]
        server = self.start("--inline-limit", "64")
        answer = submit(server, job("m.f", records))
        store(server, answer, records)
        refs = json.loads(get(server, answer.key).record.json)
        # All but the array, which names no files.
        ref = refs[3]["data"]["table"][0]
        self.assertEqual((ref["ref"], ref["data"]["shape"]), (True, [100]))
        expected = copy.deepcopy(records)
        expected[3]["data"]["table"][0] = expected[-1]["data"]["of"] = ref
        self.assertEqual(json.dumps(refs), json.dumps(expected))
        inline = json.loads(get(server, answer.key, bulk=2).record.json)
        self.assertEqual(json.dumps(inline), json.dumps(records))
        self.assertEqual(submit(server, job("m.f", refs)).key, answer.key)
        # Host and files are part of what a ref to files is.
        for member, other in [("host", "node2"), ("files", ["out.dat"])]:
            self.assertNotEqual(
                submit(server, job("m.f", [dict(records[0], **{member: other})] + records[1:])).key,
                answer.key)

    def test_malformed_records_are_refused_with_their_path(self):
        server = self.start()
        fresh = submit(server, job("m.f", "a job for the results"))
        for line in lines("malformed-records.jsonl"):
            with self.subTest(line["what"], record=line["record"]):
                self.assertEqual("job: arguments[0]" + line["error"], self.error_of(
                    lambda: submit(server, job("m.f", line["record"]))))
                self.assertEqual("record: [1]" + line["error"], self.error_of(
                    lambda: store(server, fresh, [0, line["record"]])))
        store(server, fresh, "and it serves on")

    def test_each_type_that_noodles_writes_has_malformed_versions(self):
        errors = collections.defaultdict(list)
        for line in lines("malformed-records.jsonl"):
            errors[kind_of(line["record"])].append(line["error"])
        recorded = collections.defaultdict(list)
        for line in lines("noodles-types.jsonl"):
            for known in records_in(line.get("record")):
                recorded[kind_of(known)].append(known["data"])
        self.assertEqual((ANY_DATA | ANY_MEMBERS | ANY_LENGTH) - set(recorded), set())
        for kind, data in recorded.items():
            with self.subTest(kind):
                self.check_errors(kind, data, errors[kind])
                members = {name for item in data if isinstance(item, dict) for name in item}
                for member in set() if kind in ANY_MEMBERS else members:
                    path = ".data." + member
                    self.assertEqual(path + ": is missing" in errors[kind],
                                     (kind, member) not in OPTIONAL, path)
                    self.assertEqual(has_kind(errors[kind], path),
                                     (kind, member) not in ANY_KIND, path)

    def check_errors(self, kind, data, errors):
        any_kind = ANY_DATA | {"<automagic>"}
        self.assertEqual(".data: is missing" in errors, kind not in ANY_DATA)
        self.assertEqual(has_kind(errors, ".data"), kind not in any_kind)
        self.assertEqual("length" in map(fault, errors), kind not in ANY_LENGTH)
        if kind in any_kind:
            self.assertTrue(has_kind(errors, ".host") and has_kind(errors, ".files"))
        if any(isinstance(item, str) and item.startswith("gA") for item in data):
            self.assertIn(".data: expected canonical base64", errors)

    def test_unknown_classes_are_kept_or_refused_as_told(self):
        odd = dict(NOODLES, type="<object>", **{"class": "m.Odd", "data": {"x": 1}})
        self.assertEqual(submit(self.start(), job("m.f", odd)).outcome, jobs_pb2.GRANTED)
        strict = self.start("--unknown", "refuse")
        self.refused('arguments[0]: no serialiser knows the type "<object>", class "m.Odd"',
                     lambda: submit(strict, job("m.f", odd)))
        told = self.start("--unknown", "refuse", "--bases", "m.Odd=m.Base",
                          "--bases", "m.Base=builtins.dict")
        self.assertEqual(submit(told, job("m.f", odd)).outcome, jobs_pb2.GRANTED)
        self.refused("arguments[0].data: expected an object",
                     lambda: submit(told, job("m.f", dict(odd, data=[]))))

    def test_classes_known_by_their_bases_are_checked_as_those(self):
        told = self.start("--bases", "fixtures.MyDict=builtins.dict", "--bases", "m.Colour=enum.StrEnum",
                          "--bases", "m.Count=m.Colour")

        def record(kind, **members):
            return dict(NOODLES, type="<object>", **{"class": kind}, **members)

        for good in (record("fixtures.MyDict", data={"a": 1}), record("m.Colour", data="RED"),
                     record("m.Count", data="ONE")):
            self.assertEqual(submit(told, job("m.f", good)).outcome, jobs_pb2.GRANTED)
        for bad, error in ((record("fixtures.MyDict"), "data: is missing"),
                           (record("fixtures.MyDict", data=[1]), "data: expected an object, found list"),
                           (record("fixtures.MyDict", data="a"), "data: expected an object, found string"),
                           (record("m.Colour"), "data: is missing"),
                           (record("m.Colour", data=1), "data: expected a string, found integer"),
                           (record("m.Count", data={}), "data: expected a string, found object")):
            with self.subTest(bad):
                self.refused("arguments[0]." + error, lambda bad=bad: submit(told, job("m.f", bad)))

    def test_a_scalar_s_dtype_is_that_of_its_class(self):
        server = self.start()

        def scalar(kind, dtype, size):
            of = dict(NOODLES, type="<object>", **{"class": "builtins.bytes"},
                      data=base64.b64encode(bytes(size)).decode())
            return dict(NOODLES, type="<object>", **{"class": kind}, data={"dtype": dtype, "bytes": of})

        for good in (scalar("numpy.float64", "float64", 8), scalar("numpy.longlong", "int64", 8),
                     scalar("numpy.str_", "<U2", 8), scalar("numpy.datetime64", "datetime64[ns]", 8),
                     scalar("numpy.void", "|V3", 3), scalar("numpy.bool", "bool", 1)):
            self.assertEqual(submit(server, job("m.f", good)).outcome, jobs_pb2.GRANTED)
        for kind, dtype, size in (("numpy.float64", "int64", 8), ("numpy.float64", "float32", 4),
                                  ("numpy.int8", "uint8", 1), ("numpy.str_", "|S8", 8)):
            with self.subTest(kind, dtype=dtype):
                self.refused(f"arguments[0].data.dtype: {dtype} is not that of a {kind}",
                             lambda: submit(server, job("m.f", scalar(kind, dtype, size))))

    def test_describe_tells_what_the_running_server_knows(self):
        def described(server):
            answer = server.admin.Describe(admin_pb2.DescribeRequest(caller=caller()))
            return answer.registry, {(s.record_type, s.class_name): s.keeps
                                     for s in answer.serialisers}

        sum_, known = described(self.start())
        self.assertEqual(sum_, "base+numpy+pickle")
        self.assertEqual(known["<object>", "numpy.matrix"], "as numpy.ndarray")
        self.assertIn("opaque", known["<pickle>", ""])
        self.assertNotIn(("<spectrum>", ""), known)
        sum_, known = described(self.start("--registry", "base", "--unknown", "refuse"))
        self.assertEqual(sum_, "base")
        self.assertNotIn(("<object>", "numpy.ndarray"), known)
        self.assertEqual(known["", ""], "refused")
        server = self.start("--registry", "base+numpy+pickle+" + SPECTRA)
        sum_, known = described(server)
        self.assertEqual(sum_, "base+numpy+pickle+" + SPECTRA)
        self.assertIn("samples as an array", known["<spectrum>", ""])
        shown = subprocess.run([os.environ["TIFFIN_CLI_BINARY"], "--server", server.address,
                                "describe"], capture_output=True, text=True, timeout=60)
        self.assertEqual(shown.returncode, 0, shown.stderr)
        self.assertIn("<spectrum>", shown.stdout)

    def test_a_registry_that_is_none_stops_the_start(self):
        for registry, text in [("base+nump", "expected base, numpy, pickle"),
                               ("base+./libnowhere.so", "there is no such file"),
                               ("base+" + os.environ["TIFFIN_SERVER_BINARY"], "plug-in")]:
            ended = subprocess.run(
                [os.environ["TIFFIN_SERVER_BINARY"], "--backend", "memory", "--listen",
                 "127.0.0.1:0", "--registry", registry], capture_output=True, text=True, timeout=60)
            self.assertEqual(ended.returncode, 1, ended.stderr)
            self.assertIn(text, ended.stderr)


class SpectraPlugin(unittest.TestCase):
    SPECTRUM = dict(NOODLES, type="<automagic>", **{
        "class": "spectra.Spectrum",
        "data": {"unit": "nm", "start": 400.0, "step": 0.5,
                 "samples": dict(NOODLES, type="<object>", **{
                     "class": "numpy.ndarray",
                     "data": npy(numpy.array([1.5, 2.5, 4.5], dtype="float32"))})}})

    def setUp(self):
        self.server = Server("--registry", "base+numpy+pickle+" + SPECTRA)
        self.addCleanup(self.server.close)

    def changed(self, **members):
        spectrum = copy.deepcopy(self.SPECTRUM)
        spectrum["data"].update(members)
        return spectrum

    def test_takes_the_samples_out_as_an_array(self):
        answer = submit(self.server, job("spectra.fit", self.SPECTRUM))
        store(self.server, answer, [self.SPECTRUM])
        kept = json.loads(get(self.server, answer.key).record.json)[0]["data"]["samples"]
        self.assertEqual(kept["ref"], True)
        self.assertEqual((kept["data"]["dtype"], kept["data"]["shape"]), ("float32", [3]))
        messages = list(self.server.blobs.Deref(blobs_pb2.DerefRequest(
            caller=caller(), ref=blobs_pb2.BlobRef(record=record(kept)))))
        self.assertEqual(numpy.frombuffer(b"".join(m.chunk for m in messages[1:]), "float32").tolist(),
                         [1.5, 2.5, 4.5])
        inline = json.loads(get(self.server, answer.key, bulk=2).record.json)
        self.assertEqual(inline, [self.SPECTRUM])
        # By ref it is the same job, and so it is for a server without the plug-in.
        by_ref = self.changed(samples=kept)
        self.assertEqual(submit(self.server, job("spectra.fit", by_ref)).key, answer.key)
        plain = Server()
        self.addCleanup(plain.close)
        self.assertEqual(submit(plain, job("spectra.fit", self.SPECTRUM)).key, answer.key)
        self.server.admin.Seal(admin_pb2.SealRequest())
        key = kept["data"]["hdf5_path"]
        found = []
        for path in glob.glob(self.server.data + "/packs/*/*.h5"):
            with h5py.File(path) as pack:
                found += [pack[key][...].tolist()] if key in pack else []
        self.assertEqual(found, [[1.5, 2.5, 4.5]])

    def test_refuses_malformed_spectra(self):
        samples = self.SPECTRUM["data"]["samples"]
        for error, spectrum in [
                (".data.unit: expected nm, angstrom or um", self.changed(unit="parsec")),
                (".data.start: expected a finite number above zero", self.changed(start=0)),
                (".data.step: expected a number, found null", self.changed(step=None)),
                (".data.samples: expected a record <object> numpy.ndarray, found list",
                 self.changed(samples=[1.5, 2.5])),
                (".data.samples: expected float32 or float64, found int64",
                 self.changed(samples=dict(samples, data=npy(numpy.arange(3))))),
                (".data.samples: expected one dimension of at least two samples",
                 self.changed(samples=dict(samples, data=npy(numpy.ones((2, 2)))))),
                (".data: a ref to an array, where a spectrum has none",
                 dict(self.SPECTRUM, type="<object>", ref=True, data={
                     "hdf5_path": "4Z8kdMg-CbjgTKKYlz6b-_-Tsda5VAJL44OheRB10mU=", "dtype": "int64", "shape": [10]})),
                (".data: expected an object, found string",
                 dict(self.SPECTRUM, type="<object>", data="gASVLg=="))]:
            with self.subTest(error):
                with self.assertRaises(grpc.RpcError) as caught:
                    submit(self.server, job("spectra.fit", [spectrum]))
                self.assertEqual(caught.exception.code(), grpc.StatusCode.INVALID_ARGUMENT)
                self.assertIn("arguments[0][0]" + error, caught.exception.details())
        self.assertEqual(submit(self.server, job("spectra.fit", self.SPECTRUM)).outcome,
                         jobs_pb2.GRANTED)


if __name__ == "__main__":
    unittest.main()
