"""Writes the seeds of the fuzz targets from tests/data, one file for each distinct input."""
import base64
import hashlib
import json
import os
import sqlite3
import struct

from message_seeds import sequences

HERE = os.path.dirname(os.path.abspath(__file__))
DATA = os.path.join(HERE, "..", "data")
LARGEST = 2500  # bytes; small inputs are mutated faster
LARGEST_DATABASE = 12000

HANDMADE = [
    b"null", b"[true,false]", b"-0", b"0.0", b"-0.0", b"1e400", b"NaN", b"-Infinity", b"5e-324",
    b"18446744073709551616", b"-9223372036854775809", b"65504.0", b"1e22", b'"\\ud800"',
    b'"\\ud83d\\ude00"', b'"\\ude00\\ud83d"', b'"\\u0000\\/\\u007f"', b'{"a":1,"a":2,"":{}}',
    b"[[[[[[[[]]]]]]]]", b' { "k" : [ 1 , 2.50 ] } ', '"gr\u00fc\u00df \u6e29"'.encode(),
]


def load(name):
    with open(os.path.join(DATA, name)) as file:
        return [json.loads(line) for line in file] if name.endswith("l") else json.load(file)


def texts_in(value):
    """Every `text` of job-keys.json, at any depth."""
    if isinstance(value, dict):
        for name, member in value.items():
            if name == "text" and isinstance(member, str):
                yield member.encode()
            else:
                yield from texts_in(member)
    elif isinstance(value, list):
        for item in value:
            yield from texts_in(item)


def npys():
    for case in load("numpy-dtypes.json")["cases"]:
        yield case["name"].encode()
        yield base64.b64decode(case["npy"])
        yield base64.b64decode(case["fortran_npy"])


def packs():
    """Types that HDF5 takes, and such as it does not: names used twice as it sees them, of nothing, too long."""
    names = [case["name"] for case in load("numpy-dtypes.json")["cases"]]
    for i, name in enumerate(names):
        yield name.encode()
        if i % 10 == 0:
            yield "\n".join([name, f"{i // 10 % 10} {names[-i - 1]}", "0 float64"]).encode()
    yield from [b"[('a\\x00b', '<i4'), ('a', '<i4')]", b"[('\\x00', '<i4')]", b"[('r', '<f2'), ('i', '<f2')]",
                b"[('r', '<f8'), ('i', '<f8')]", b"2 [('x', 'V0'), ('y', '<U3', (2, 2))]"]


def database(*changes, rows="id IN (1, 2, 6, 10, 11, 13, 24, 26, 28)", pragma="page_size = 512"):
    """Some rows of a database that Noodles made."""
    with open(os.path.join(DATA, "noodles-database-json.sql"), encoding="utf-8") as dump:
        source = sqlite3.connect(":memory:")
        source.executescript(dump.read())
    schema, = source.execute("SELECT sql FROM sqlite_schema WHERE name = 'jobs'").fetchone()
    out = sqlite3.connect(":memory:")
    out.execute("PRAGMA " + pragma)
    out.execute(schema)
    out.execute("CREATE INDEX prov ON jobs(prov)")
    for row in source.execute("SELECT * FROM jobs WHERE " + rows):
        out.execute("INSERT INTO jobs VALUES (%s)" % ",".join("?" * len(row)), row)
    for change in changes:
        out.execute(change)
    out.commit()
    return out.serialize()


def databases():
    yield database()
    yield database(rows="id = 1")
    yield database(rows="id = 1", pragma="encoding = 'UTF-16le'")
    yield database("UPDATE jobs SET version = x'00', result = NULL", rows="id = 1")
    yield database("UPDATE jobs SET status = id, link = id + 1, result = 'null'")
    yield database("UPDATE jobs SET function = '\"f\"', arguments = '[]', result = '1'",
                   "CREATE VIEW v AS SELECT * FROM jobs, jobs, jobs")
    small = "id IN (24, 26)"
    yield database("ALTER TABLE jobs RENAME TO was", "CREATE VIEW jobs AS SELECT * FROM was", rows=small)
    yield database("ALTER TABLE jobs ADD COLUMN more AS (hex(result))", rows=small)
    yield database("DROP TABLE jobs", rows=small)
    whole = database(rows=small)
    yield whole[:1000]
    for place in (18, 100, 520, 1030, 1540, 2060, len(whole) - 40):
        yield whole[:place] + b"\xff\x7f" + whole[place + 2:]


def slabs():
    """Item, rank, whether another number of dimensions is selected from, shape, then start, count, stride of each."""
    top = b"\xf0\x7f" + b"\xff" * 7
    for item, shape, dimensions in (
            (1, [], []), (8, [10], [(0, 10, 1)]), (8, [10], [(1, 3, 3)]), (3, [4, 5], [(1, 2, 2), (0, 5, 1)]),
            (2, [9, 5, 7], [(0, 9, 1), (1, 2, 1), (0, 7, 1)]), (1, [3, 0], [(0, 3, 1), (0, 0, 1)]),
            (8, [10], [(10, 1, 1)]), (8, [10], [(0, 0, 15)]), (8, [2] * 12, [(0, 2, 1)] * 12),
            (8, [3] * 5, [(0, 2, 2)] * 5), (4, [15, 15], [(14, 1, 1), (0, 5, 3)])):
        yield (bytes([item - 1, len(shape), 0, *shape]) + bytes(n for d in dimensions for n in d) +
               bytes(range(1, 9)))
    for extent in (top, b"\xe8\x3f", b"\xe8\x2f", b"\xe7\x2f", b"\xe8\x10"):  # 2^63 - 1, 2^63, 2^47, one less, 2^16
        for numbers in ((extent, b"\x01", b"\x01"), (b"\x01", extent, b"\x01"), (b"\x00", b"\x02", extent),
                        (b"\x00", extent, b"\x02"), (extent, extent, extent)):
            yield b"\x00\x01\x00" + extent + b"".join(numbers) + struct.pack("<4Q", 1, 2, 3, 4)
    yield b"\x00\x03\x00\xe8\x0f\xe8\x0f\xe8\x0f" + b"\x02\xe8\x0d\x02" * 3 + b"\xe8\x20" * 8  # [2^15] * 3
    yield b"\x00\x02\x0f\x05" + b"\x03\x03" + b"\x00\x01\x01" * 5


def write(target, inputs, largest=LARGEST):
    folder = os.path.join(HERE, "seeds", target)
    os.makedirs(folder, exist_ok=True)
    for data in inputs:
        if len(data) <= largest:
            with open(os.path.join(folder, hashlib.sha256(data).hexdigest()[:16]), "wb") as out:
                out.write(data)


jobs = list(texts_in(load("job-keys.json")))
records = [json.dumps(line["record"]).encode() for line in load("noodles-types.jsonl")
           if "record" in line]
malformed = [json.dumps(line["record"]).encode() for line in load("malformed-records.jsonl")]
write("json", HANDMADE + jobs[::6] + records[::4])
write("cbor", HANDMADE + jobs[::2] + records[::4])
write("record", records + malformed[::3] + jobs[::3])
write("npy", list(npys())[::3])
write("import", databases(), LARGEST_DATABASE)
write("slab", slabs())
write("pack", packs())
write("message", sequences())
