"""The Registry, seen through the wire: what the server knows, takes, refuses and gives back."""
import base64, copy, glob, io, json, os, subprocess, unittest

import grpc
import h5py
import numpy

from support import Server, caller, get, job, record, store, submit
from tiffin.v1 import admin_pb2, blobs_pb2, jobs_pb2

DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data")
SPECTRA = os.environ["TIFFIN_SPECTRA_PLUGIN"]
NOODLES = {"_noodles": "0.3.0"}


def lines(name):
    with open(os.path.join(DATA, name)) as file:
        return [json.loads(line) for line in file]


def all_records():
    """Every record of the data files."""
    found = [line["record"] for line in lines("noodles-types.jsonl") if "record" in line]
    for line in lines("noodles-jobs.jsonl"):
        found += [line[member] for member in ("job", "result") if line.get(member) is not None]
    with open(os.path.join(DATA, "noodles-golden.json")) as file:
        for profile in json.load(file)["profiles"].values():
            found += [json.loads(job["text"]) for job in profile["jobs"].values()]
            found += [json.loads(text) for text in profile["messages"].values()]
    return found


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

    def refused(self, text, call):
        with self.assertRaises(grpc.RpcError) as caught:
            call()
        self.assertEqual(caught.exception.code(), grpc.StatusCode.INVALID_ARGUMENT)
        self.assertIn(text, caught.exception.details())

    def test_every_record_passes_and_comes_back_equal(self):
        for limit in ("64", "4096"):
            server = self.start("--inline-limit", limit)
            refs_made = 0
            for number, sent in enumerate(all_records()):
                asked = job("m.f", number, sent)
                answer = submit(server, asked, namespace="there")
                store(server, answer, sent, namespace="there",
                      kind=jobs_pb2.RESULT_KIND_VALUE)
                refs = json.loads(get(server, answer.key, "there").record.json)
                inline = json.loads(get(server, answer.key, "there", bulk=2).record.json)
                self.assertEqual(json.dumps(inline), json.dumps(in_c_order(sent, int(limit))))
                self.assertEqual(json.dumps(refs), json.dumps(but_for_refs(sent, refs)))
                refs_made += json.dumps(refs) != json.dumps(sent)
                # By ref it is the same job.
                again = submit(server, job("m.f", number, refs), namespace="there")
                self.assertEqual((again.key, again.outcome), (answer.key, jobs_pb2.RETRIEVED))
            self.assertGreater(refs_made, 2)

    def test_malformed_records_are_refused_with_their_path(self):
        server = self.start()
        fresh = submit(server, job("m.f", "a job for the results"))
        for line in lines("malformed-records.jsonl"):
            with self.subTest(line["what"], record=line["record"]):
                self.refused("arguments[0]" + line["error"],
                             lambda: submit(server, job("m.f", line["record"])))
                self.refused("[1]" + line["error"],
                             lambda: store(server, fresh, [0, line["record"]]))
        store(server, fresh, "and it serves on")

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
                (".data.start: expected a number above zero", self.changed(start=0)),
                (".data.step: expected a number, found null", self.changed(step=None)),
                (".data.samples: expected a record <object> numpy.ndarray, found list",
                 self.changed(samples=[1.5, 2.5])),
                (".data.samples: expected float32 or float64, found int64",
                 self.changed(samples=dict(samples, data=npy(numpy.arange(3))))),
                (".data.samples: expected one dimension of at least two samples",
                 self.changed(samples=dict(samples, data=npy(numpy.ones((2, 2)))))),
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
