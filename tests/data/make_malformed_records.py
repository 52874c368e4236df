"""Writes malformed-records.jsonl: malformed versions of each kind of record, with the error each gets."""
import base64
import io
import json
import pickle

import numpy

NOODLES = {"_noodles": "0.3.0"}


def rec(kind, name, data, **members):
    return {**NOODLES, "type": kind, "class": name, "data": data, **members}


def obj(name, data, **members):
    return rec("<object>", name, data, **members)


def npy(array):
    out = io.BytesIO()
    numpy.save(out, array)
    return out.getvalue()


def text(data):
    return base64.b64encode(data).decode()


KIND = "noodles.workflow.arguments.ArgumentKind"
ADDRESS = "noodles.workflow.arguments.ArgumentAddress"
NODE = "noodles.workflow.model.FunctionNode"
WORKFLOW = "noodles.workflow.model.Workflow"
PROMISED = "noodles.interface.decorator.PromisedObject"
QUOTE = "noodles.interface.functions.Quote"
FAIL = "noodles.interface.maybe.Fail"
JOB = "noodles.run.messages.JobMessage"
RESULT = "noodles.run.messages.ResultMessage"

regular = obj(KIND, "regular")
address = obj(ADDRESS, {"kind": regular, "name": "x", "key": None})
function = rec("<importable>", "builtins.function", "m.f")
argument = obj("builtins.tuple", [address, 1])
node = obj(NODE, {"function": function, "arguments": [argument], "hints": {}})
KEY = "4Z8kdMg-CbjgTKKYlz6b-_-Tsda5VAJL44OheRB10mU="
array = npy(numpy.arange(10))
eight = obj("builtins.bytes", text(b"12345678"))


def workflow(**members):
    return obj(WORKFLOW, {"root": 0, "nodes": [node], "links": [{"node": 0, "to": []}], **members})


def without(record, member):
    data = dict(record["data"])
    del data[member]
    return {**record, "data": data}


def array_ref(name, **members):
    return obj(name, {"hdf5_path": KEY, "dtype": "int64", "shape": [10], **members}, ref=True)


def bytes_ref(**members):
    return array_ref("builtins.bytes", **{"dtype": "|V1", "shape": [10], **members})


def value_ref(record, **members):
    return {**record, "data": {"value": KEY, "size": 10, **members}, "ref": True}


def no_digest(found):
    return "not a SHA-256 in padded base64url (44 characters): \"" + found + "\""


CASES = []


def bad(what, record, error):
    CASES.append({"what": what, "record": record, "error": error})


for name in ["tuple", "list", "set", "frozenset"]:
    bad("an object", obj("builtins." + name, {}), ".data: expected a list, found object")
    bad("text", obj("builtins." + name, "abc"), ".data: expected a list, found string")
    bad("no data", {**NOODLES, "type": "<object>", "class": "builtins." + name},
        ".data: is missing")
bad("an array's ref", array_ref("builtins.tuple"),
    ".data: a ref to an array, where a builtins.tuple has none")
bad("within a tuple", obj("builtins.tuple", [0, obj("builtins.set", None)]),
    ".data[1].data: expected a list, found null")
bad("two items", obj("builtins.slice", [1, None]), ".data: expected 3 items, found 2")
bad("an integer", obj("builtins.slice", 1), ".data: expected a list, found integer")
bad("no imag", obj("builtins.complex", {"real": 1.0}), ".data.imag: is missing")
bad("text", obj("builtins.complex", {"real": "1", "imag": 0}),
    ".data.real: expected a number, found string")
bad("a list", obj("builtins.complex", [1, 2]), ".data: expected an object, found list")
bad("a list", obj("builtins.dict", [["a", 1]]), ".data: expected an object, found list")
bad("a list", obj("collections.OrderedDict", [["a", 1]]), ".data: expected an object, found list")
bad("a record", obj("collections.OrderedDict", obj("builtins.tuple", [])),
    ".data: expected an object, found a record <object> builtins.tuple")
bad("a list", obj("builtins.bytes", [1, 2]), ".data: expected a string, found list")
bad("not base64", obj("builtins.bytes", "a?=="), ".data: expected canonical base64")
bad("cut", obj("builtins.bytes", "AP8"), ".data: expected canonical base64")
bad("a number", obj("enum.Enum", 1), ".data: expected a string, found integer")
bad("a list", obj("pathlib.PurePath", ["a"]), ".data: expected a string, found list")
bad("a list", obj("pathlib.PosixPath", ["a"], host=None, files=["a"]),
    ".data: expected a string, found list")
bad("a file that is no name", obj("pathlib.PosixPath", "a", host=None, files=["a", 1]),
    ".files[1]: expected a string, found integer")
bad("a host that is no name", obj("pathlib.PosixPath", "a", host=[], files=["a"]),
    ".host: expected a string or null, found list")
bad("a member of three", obj("tiffin.map", [[1, 2], [1, 2, 3]]),
    ".data[1]: expected 2 items, found 3")
bad("no value", obj("tiffin.files", {"files": {}}), ".data.value: is missing")
bad("a file that is text", obj("tiffin.files", {"value": 1, "files": {"a.b": "text"}}),
    ".data.files[\"a.b\"]: expected a record <object> builtins.bytes, found string")
bad("a double", obj("tiffin.time", 1.5), ".data: expected an integer, found double")
bad("text", obj("tiffin.duration", "1"), ".data: expected an integer, found string")

bad("no method", rec("<method>", "builtins.function", {"class": "m.A"}), ".data.method: is missing")
bad("a class that is no name", rec("<method>", "builtins.function", {"class": 1, "method": "f"}),
    ".data.class: expected a string, found integer")
bad("no self", rec("<boundmethod>", "builtins.method", {"name": "f"}), ".data.self: is missing")
bad("an empty name", rec("<boundmethod>", "builtins.method", {"self": 1, "name": ""}),
    ".data.name: expected a qualified name, found \"\"")
for kind in ["<importable>", "<unwrapped>", "<ufunc>"]:
    bad("null", rec(kind, "builtins.function", None), ".data: expected a string, found null")
    bad("no name", rec(kind, "builtins.function", "m..f"),
        ".data: expected a qualified name, found \"m..f\"")
bad("no data", {**NOODLES, "type": "<automagic>", "class": "m.A"}, ".data: is missing")
bad("a list", rec("<dataclass>", "m.A", [1]), ".data: expected an object, found list")
bad("no name", rec("<namedtuple>", "m.A", {"data": obj("builtins.tuple", [1])}),
    ".data.name: is missing")
bad("fields in a list", rec("<namedtuple>", "m.A", {"name": "m.A", "data": [1]}),
    ".data.data: expected a record <object> builtins.tuple, found list")

bad("another word", obj(KIND, "positional"), ".data: expected regular, variadic or keyword")
bad("no kind", without(address, "kind"), ".data.kind: is missing")
bad("a kind that is text", obj(ADDRESS, {"kind": "regular", "name": "x", "key": None}),
    ".data.kind: expected a record <object> " + KIND + ", found string")
bad("no name", without(address, "name"), ".data.name: is missing")
bad("no key", without(address, "key"), ".data.key: is missing")
bad("no function", without(node, "function"), ".data.function: is missing")
bad("no arguments", without(node, "arguments"), ".data.arguments: is missing")
bad("arguments by name", obj(NODE, {"function": function, "arguments": {"x": 1}, "hints": {}}),
    ".data.arguments: expected a list, found object")
bad("an argument without an address", obj(NODE, {"function": function, "arguments": [argument, 1]}),
    ".data.arguments[1]: expected a record <object> builtins.tuple, found integer")
bad("an argument of three",
    obj(NODE, {"function": function, "arguments": [obj("builtins.tuple", [address, 1, 2])]}),
    ".data.arguments[0].data: expected an address and a value, found 3 items")
bad("hints in a list", obj(NODE, {"function": function, "arguments": [], "hints": []}),
    ".data.hints: expected an object, found list")
for member in ["root", "nodes", "links"]:
    bad("no " + member, without(workflow(), member), ".data." + member + ": is missing")
bad("a root that is no node", workflow(root=1), ".data.root: no node of that number: there are 1")
bad("a node that is none", workflow(nodes=[1]),
    ".data.nodes[0]: expected a record <object> " + NODE + ", found integer")
bad("a link without targets", workflow(links=[{"node": 0}]), ".data.links[0].to: is missing")
bad("a link from nowhere", workflow(links=[{"node": -1, "to": []}]),
    ".data.links[0].node: no node of that number: there are 1")
bad("a link to nowhere", workflow(links=[{"node": 0, "to": [{"node": 7, "address": address}]}]),
    ".data.links[0].to[0].node: no node of that number: there are 1")
bad("a link without an address", workflow(links=[{"node": 0, "to": [{"node": 0}]}]),
    ".data.links[0].to[0].address: is missing")
for name in [PROMISED, QUOTE]:
    bad("no workflow", obj(name, {}), ".data.workflow: is missing")
    bad("another record", obj(name, {"workflow": node}),
        ".data.workflow: expected a record <object> " + WORKFLOW +
        ", found a record <object> " + NODE)
fail = obj(FAIL, {"name": "f", "fails": [], "trace": [], "exception": None})
for member in fail["data"]:
    bad("no " + member, without(fail, member), ".data." + member + ": is missing")
bad("a trace that is text", obj(FAIL, {**fail["data"], "trace": "t"}),
    ".data.trace: expected a list, found string")
bad("a trace of numbers", obj(FAIL, {**fail["data"], "trace": ["f (m.py:3)", 3]}),
    ".data.trace[1]: expected a string, found integer")


def fails(*items, name="builtins.tuple"):
    return obj(FAIL, {**fail["data"], "fails": [obj("builtins.tuple", ["m.f", 0, fail]), obj(name, list(items))]})


bad("a failed argument that is no tuple", fails("m.f", 0, fail, name="builtins.set"),
    ".data.fails[1]: expected a record <object> builtins.tuple, found a record <object> builtins.set")
bad("a failed argument without its Fail", fails("m.f", 0),
    ".data.fails[1].data: expected a function, an argument and a Fail, found 2 items")
bad("a function that is no name", fails(1, 0, fail), ".data.fails[1].data[0]: expected a string, found integer")
bad("an argument that is neither place nor name", fails("m.f", 0.5, fail),
    ".data.fails[1].data[1]: expected a position or a name, found double")
bad("a failed argument that is plain", fails("m.f", "x", {}), ".data.fails[1].data[2]: expected a record, found object")
bad("no node", obj(JOB, {"key": 1}), ".data.node: is missing")
bad("no key", obj(JOB, {"node": node}), ".data.key: is missing")
result = obj(RESULT, {"key": 1, "status": "done", "value": 1, "msg": None})
for member in result["data"]:
    bad("no " + member, without(result, member), ".data." + member + ": is missing")
bad("a status that is a number", obj(RESULT, {**result["data"], "status": 1}),
    ".data.status: expected a string, found integer")

bad("a list", obj("numpy.ndarray", [1, 2]), ".data: expected a string, found list")
bad("not base64", obj("numpy.ndarray", "k05V TVBZ"), ".data: expected canonical base64")
bad("no npy", obj("numpy.ndarray", text(b"hello")),
    ".data: npy header: does not start with the magic")
bad("cut in the data", obj("numpy.ndarray", text(array[:-8])),
    ".data: npy: 72 bytes of data instead of 80")
bad("too long", obj("numpy.matrix", text(array + b"x")),
    ".data: npy: 81 bytes of data instead of 80")
bad("cut in the header", obj("numpy.ndarray", text(array[:20])), ".data: npy header: cut short")
bad("a ref with a shape of text", array_ref("numpy.ndarray", shape="10"),
    ".data.shape: expected a list, found string")
bad("a ref with a negative extent", array_ref("numpy.ndarray", shape=[2, -1]),
    ".data.shape[1]: expected an integer from 0 to below 2^63")
bad("a ref with a dtype under another name", array_ref("numpy.ndarray", dtype="<i8"),
    ".data.dtype: expected \"int64\", numpy's str()")
bad("a file without a name", obj("numpy.ndarray", {"path": "x"}, ref=True, host="n", files=["f"]),
    ".data.filename: is missing")
bad("a file without a path", obj("numpy.ndarray", {"filename": "f"}, ref=True, host="n",
                                 files=["f"]), ".data.path: is missing")
bad("a file that is no name", obj("numpy.ndarray", "a.npy", ref=True, host="n", files=[None]),
    ".files[0]: expected a string, found null")
bad("no dtype", obj("numpy.float64", {"bytes": eight}), ".data.dtype: is missing")
bad("no bytes", obj("numpy.float64", {"dtype": "float64"}), ".data.bytes: is missing")
bad("too few bytes", obj("numpy.float64", {"dtype": "complex128", "bytes": eight}),
    ".data.bytes: expected 16 bytes of complex128, found 8")
bad("bytes that are text", obj("numpy.generic", {"dtype": "float64", "bytes": "AAAAAAAAAAA="}),
    ".data.bytes: expected a record <object> builtins.bytes, found string")

for name in ["builtins.bytes", "builtins.slice", "builtins.complex", "builtins.dict", "collections.OrderedDict",
             "enum.Enum", "pathlib.PosixPath", "numpy.ndarray", "numpy.matrix", "numpy.float64",
             KIND, ADDRESS, NODE, WORKFLOW, PROMISED, QUOTE, FAIL, JOB, RESULT]:
    bad("no data", {**NOODLES, "type": "<object>", "class": name}, ".data: is missing")
for kind in ["<importable>", "<unwrapped>", "<ufunc>", "<method>", "<boundmethod>", "<dataclass>", "<namedtuple>"]:
    bad("no data", {**NOODLES, "type": kind, "class": "m.A"}, ".data: is missing")
bad("no real", obj("builtins.complex", {"imag": 1.0}), ".data.real: is missing")
bad("no class", rec("<method>", "builtins.function", {"method": "f"}), ".data.class: is missing")
bad("no name", rec("<boundmethod>", "builtins.method", {"self": 1}), ".data.name: is missing")
bad("no fields", rec("<namedtuple>", "m.A", {"name": "m.A"}), ".data.data: is missing")
bad("files that are a number", rec("<automagic>", "m.A", "a.dat", ref=True, host="n", files=5),
    ".files: expected a list, found integer")
bad("a file that is no name", rec("<automagic>", "m.A", "a.dat", ref=True, host="n", files=["a.dat", 1]),
    ".files[1]: expected a string, found integer")
bad("a host that is a number", rec("<automagic>", "m.A", "a.dat", ref=True, host=7, files=["a.dat"]),
    ".host: expected a string or null, found integer")
bad("a host that is a list", rec("<dataclass>", "m.A", {}, host=[]),
    ".host: expected a string or null, found list")
bad("a host that is a number", obj("numpy.ndarray", "a.npy", ref=True, host=7, files=["a.npy"]),
    ".host: expected a string or null, found integer")
bad("a class that is a number", rec("<automagic>", 5, "x"), ".class: expected a string or null, found integer")
structured = npy(numpy.zeros(3, [("a", "<i4"), ("b", "<f8", (2,))]))
bad("cut, structured", obj("numpy.ndarray", text(structured[:-1])), ".data: npy: 59 bytes of data instead of 60")
bad("cut, unicode", obj("numpy.ndarray", text(npy(numpy.array(["ab", "c"]))[:-4])),
    ".data: npy: 12 bytes of data instead of 16")
bad("cut, datetime", obj("numpy.ndarray", text(npy(numpy.zeros(1, "datetime64[ns]"))[:-1])),
    ".data: npy: 7 bytes of data instead of 8")
bad("cut, 0-d", obj("numpy.ndarray", text(npy(numpy.float64(1))[:-1])),
    ".data: npy: 7 bytes of data instead of 8")
bad("cut, Fortran", obj("numpy.ndarray", text(npy(numpy.asfortranarray(numpy.zeros((2, 3))))[:-1])),
    ".data: npy: 47 bytes of data instead of 48")
bad("more than empty", obj("numpy.ndarray", text(npy(numpy.zeros((1, 0), int)) + b"x")),
    ".data: npy: 1 bytes of data instead of 0")

# Members of another kind, and data that has none.
bad("text", obj("builtins.complex", {"real": 1, "imag": "0"}),
    ".data.imag: expected a number, found string")
bad("a number", obj(KIND, 1), ".data: expected a string, found integer")
bad("files in an object", rec("<automagic>", "m.A", 1, files={}),
    ".files: expected a list, found object")
for record, members in [
        (address, {"name": (None, "a string")}),
        (node, {"arguments": ("x", "a list"), "hints": ("x", "an object")}),
        (workflow(), {"root": ("0", "an integer"), "nodes": (node["data"], "a list"),
                      "links": (None, "a list")}),
        (obj(PROMISED, {"workflow": workflow()}),
         {"workflow": ([], "a record <object> " + WORKFLOW)}),
        (obj(QUOTE, {"workflow": workflow()}),
         {"workflow": ([], "a record <object> " + WORKFLOW)}),
        (fail, {"name": (1, "a string"), "fails": ({}, "a list"), "trace": (None, "a list")}),
        (obj(JOB, {"key": 1, "node": node}), {"node": (1, "a record <object> " + NODE)}),
        (result, {"status": (None, "a string")}),
        (rec("<boundmethod>", "builtins.method", {"self": 1, "name": "f"}),
         {"name": (["f"], "a string")}),
        (rec("<method>", "builtins.function", {"class": "m.A", "method": "f"}),
         {"method": (None, "a string")}),
        (rec("<namedtuple>", "m.A", {"name": "m.A", "data": obj("builtins.tuple", [1])}),
         {"name": (1, "a string")}),
        (obj("numpy.float64", {"dtype": "float64", "bytes": eight}),
         {"dtype": (8, "a string"), "bytes": (None, "a record <object> builtins.bytes")}),
        (obj("numpy.int64", {"dtype": "int64", "bytes": eight}),
         {"dtype": (None, "a string"), "bytes": ([], "a record <object> builtins.bytes")}),
        (obj("numpy.ndarray", {"filename": "f", "path": "x"}, ref=True, host="n", files=["f"]),
         {"filename": (1, "a string"), "path": (None, "a string")})]:
    for member, (value, expected) in members.items():
        found = {str: "string", int: "integer", list: "list", dict: "object",
                 type(None): "null"}[type(value)]
        bad("another kind of " + member, {**record, "data": {**record["data"], member: value}},
            ".data." + member + ": expected " + expected + ", found " + found)
    bad("a list", {**record, "data": [record["data"]]}, ".data: expected an object, found list")
bad("no data", {**NOODLES, "type": "<object>", "class": "numpy.int64"}, ".data: is missing")
bad("no dtype", obj("numpy.int64", {"bytes": eight}), ".data.dtype: is missing")
bad("no bytes", obj("numpy.int64", {"dtype": "int64"}), ".data.bytes: is missing")
bad("too many bytes", obj("numpy.int64", {"dtype": "int32", "bytes": eight}),
    ".data.bytes: expected 4 bytes of int32, found 8")
bad("bytes elsewhere, too few",
    obj("numpy.int64", {"dtype": "int64", "bytes": bytes_ref(shape=[7])}),
    ".data.bytes: expected 8 bytes of int64, found 7")
bad("no dtype of numpy's", obj("numpy.int64", {"dtype": "int63", "bytes": eight}),
    ".data.dtype: \"int63\" is not a dtype")
bad("four items", obj("builtins.slice", [1, None, 2, 3]), ".data: expected 3 items, found 4")
bad("a number", obj("numpy.matrix", 1), ".data: expected a string, found integer")

# Pickles are not opened: what is seen of one is its base64, its first two bytes and its last.
pickled = text(pickle.dumps(range(10), 4))
damaged = pickled[:12] + "?" + pickled[13:]
for name in ["fixtures.Plain", "builtins.range", "builtins.function", "builtins.ValueError",
             "builtins.frozenset", "numpy.int64", "numpy.ndarray", "m.Odd"]:
    bad("a pickle that is not base64", obj(name, damaged), ".data: expected canonical base64")
bad("a cut pickle", obj("builtins.frozenset", pickled[:-4]), ".data: expected a list, found string")
bad("a cut pickle", obj("numpy.int64", pickled[:-4]), ".data: expected an object, found string")
bad("a cut pickle", obj("numpy.ndarray", pickled[:-4]),
    ".data: npy header: does not start with the magic")
bad("no data", {**NOODLES, "type": "<pickle>", "class": "m.A"}, ".data: is missing")
bad("a list", rec("<pickle>", "m.A", [1]), ".data: expected a string, found list")
bad("not base64", rec("<pickle>", "m.A", damaged), ".data: expected canonical base64")
objects = npy(numpy.array([None, "x"]))
bad("pickled objects, cut in the header", obj("numpy.ndarray", text(objects[:40])),
    ".data: npy header: cut short")

# What no serialiser knows is kept whatever its data, but not whatever is around it.
for name in ["fixtures.MyDict", "fixtures.Plain", "builtins.range", "builtins.function",
             "builtins.ValueError"]:
    bad("a host that is a list", obj(name, pickled, host=["n"]),
        ".host: expected a string or null, found list")
    bad("files that are text", obj(name, {"x": 1}, host="n", files="f"),
        ".files: expected a list, found string")

# Refs of the first form.
for record in [array_ref("numpy.ndarray"), array_ref("numpy.matrix"), bytes_ref()]:
    for member, value, error in [
            ("hdf5_path", None, "expected a string, found null"),
            ("hdf5_path", KEY[:-1], no_digest(KEY[:-1])),
            ("hdf5_path", KEY.replace("-", "+"), no_digest(KEY.replace("-", "+"))),
            ("dtype", 8, "expected a string"),
            ("dtype", "int63", "\"int63\" is not a dtype"),
            ("dtype", "object", "Python objects cannot be kept"),
            ("shape", [1] * 33, "33 dimensions, more than the limit of 32"),
            ("shape", None, "expected a list, found null"),
            ("shape[0]", ["10"], "expected an integer from 0 to below 2^63"),
            ("shape[0]", [1 << 63], "expected an integer from 0 to below 2^63")]:
        data = {**record["data"], member.split("[")[0]: value}
        bad("a ref with another " + member, {**record, "data": data},
            ".data." + member + ": " + error)
    for member in record["data"]:
        bad("a ref without " + member, without(record, member),
            ".data: expected a string, found object")
bad("a ref of 2^48 bytes", bytes_ref(shape=[1 << 48]),
    ".data.shape: an array of shape [281474976710656] and 1 bytes per element has 2^48 bytes or "
    "more")
bad("a ref to integers", bytes_ref(dtype="int64"), ".data.dtype: bytes have the dtype |V1")
bad("a ref to a table", bytes_ref(shape=[2, 5]), ".data.shape: bytes have one dimension")

# Refs of the second form.
for record in [rec("<automagic>", "m.A", None), obj("fixtures.Plain", None), obj("m.Odd", None),
               obj("builtins.set", None), obj(WORKFLOW, None), obj("numpy.ndarray", None),
               rec("<pickle>", "m.A", None)]:
    for member, value, error in [
            ("value", "", no_digest("")),
            ("value", KEY[:-1], no_digest(KEY[:-1])),
            ("value", KEY.replace("_", "/"), no_digest(KEY.replace("_", "/"))),
            ("size", -1, "expected an integer from 0 to below 2^48"),
            ("size", 1 << 48, "expected an integer from 0 to below 2^48"),
            ("size", 1 << 70, "expected an integer from 0 to below 2^48")]:
        bad("a ref to a value with another " + member, value_ref(record, **{member: value}),
            ".data." + member + ": " + error)
bad("a ref within a tuple", obj("builtins.tuple", [1, value_ref(obj("m.Odd", None), size=-1)]),
    ".data[1].data.size: expected an integer from 0 to below 2^48")
bad("a ref in an argument", obj(NODE, {"function": function, "hints": None, "arguments": [
    obj("builtins.tuple", [address, value_ref(obj("m.Odd", None), value="x")])]}),
    ".data.arguments[0].data[1].data.value: " + no_digest("x"))
for member in ["value", "size"]:  # what is no ref is data
    bad("a ref to a value without " + member, without(value_ref(obj("builtins.set", None)), member),
        ".data: expected a list, found object")
bad("a value that is a number", value_ref(obj("builtins.set", None), value=1),
    ".data: expected a list, found object")
bad("a size that is text", value_ref(obj("builtins.slice", None), size="10"),
    ".data: expected a list, found object")
bad("more than a ref to a value", value_ref(obj(JOB, None), shape=[10]), ".data.key: is missing")

with open("malformed-records.jsonl", "w") as out:
    for case in CASES:
        out.write(json.dumps(case) + "\n")
