"""Looks at the data folder of a stopped server as others would: with sqlite3 and h5py."""
import glob, os, shutil, sqlite3, tempfile

import h5py

from journal import Broken
from blob_support import key_of

COUNTED = {"jobs": "SELECT count(*) FROM jobs", "leases": "SELECT count(*) FROM leases",
           "aliases": "SELECT count(*) FROM aliases", "sessions": "SELECT count(*) FROM sessions",
           "blobs": "SELECT count(*) FROM blobs", "namespaces": "SELECT count(*) FROM namespaces",
           "evidence": "SELECT count(*) FROM evidence",
           "blob_bytes": "SELECT coalesce(sum(size), 0) FROM blobs"}
PENDING, OPEN, SEALED = 0, 1, 2


class Place:
    def __init__(self, path, offset, size):
        self.path, self.offset, self.size = path, offset, size


def places(server):
    """Key → where the blob lies, told from a copy of the database."""
    with tempfile.TemporaryDirectory() as copy:
        for suffix in ("", "-wal"):
            if os.path.exists(server.data + "/tiffin.db" + suffix):
                shutil.copy(server.data + "/tiffin.db" + suffix, copy)
        database = sqlite3.connect(copy + "/tiffin.db")
        out = {}
        for key, size, location in database.execute("SELECT key, size, location FROM blobs"):
            pack, kind, offset = location.split(":")
            folder = "open" if kind == "o" else "packs/" + pack[:2]
            out[key] = Place(f"{server.data}/{folder}/{pack}.h5", int(offset), size)
        database.close()
        return out


def inspect(data, hurt=(), unknown=()):
    """Raises Broken. Of a server that was stopped with SIGTERM. `hurt`: packs that were damaged on purpose; `unknown`:
    those that the index need not know, since damage of the database took that back."""
    database = sqlite3.connect(f"file:{data}/tiffin.db?mode=ro", uri=True)
    try:
        _check_rows(database)
        packs = dict(database.execute("SELECT name, state FROM packs"))
        _check_files(data, packs, {*hurt, *unknown})
        _check_packs(data, packs, database, hurt)
    finally:
        database.close()


def inspect_copy(data, results):
    """Raises Broken. Of a backup: whole, and with these results: (namespace, key, JSON text)."""
    inspect(data)
    database = sqlite3.connect(f"file:{data}/tiffin.db?mode=ro", uri=True)
    try:
        there = {(namespace, key): record.encode() for namespace, key, record in database.execute(
            "SELECT n.name, j.key, r.record FROM results r JOIN jobs j ON j.id = r.job "
            "JOIN namespaces n ON n.id = j.namespace")}
    finally:
        database.close()
    for namespace, key, text in results:
        if there.get((namespace, key)) != text:
            raise Broken(f"{data}: job {key.hex()[:12]} has {there.get((namespace, key))}, not {text}")


def _check_rows(database):
    found = database.execute("PRAGMA integrity_check").fetchall()
    if found != [("ok",)]:
        raise Broken(f"integrity_check: {found}")
    foreign = database.execute("PRAGMA foreign_key_check").fetchall()
    if foreign:
        raise Broken(f"foreign_key_check: {foreign}")
    for column, query in COUNTED.items():
        (kept,), = database.execute(f"SELECT {column} FROM counters")
        (there,), = database.execute(query)
        if kept != there:
            raise Broken(f"counters.{column} is {kept}, there are {there}")


def _check_files(data, packs, hurt):
    """No file that nobody knows of."""
    for path in glob.glob(data + "/tmp/*"):
        raise Broken(f"{path} was left behind")
    for folder, state in (("packs/*", SEALED), ("open", OPEN)):
        for path in glob.glob(f"{data}/{folder}/*"):
            name = os.path.splitext(os.path.basename(path))[0]
            if packs.get(name) != state and name not in hurt:
                raise Broken(f"{path}: the index has state {packs.get(name)}")
    uploads = {os.path.splitext(name)[0] for name in glob.glob("*", root_dir=data + "/uploads")}
    for name in uploads:
        for suffix in (".h5", ".at"):
            if not os.path.exists(f"{data}/uploads/{name}{suffix}"):
                raise Broken(f"half an upload: {name} has no {suffix}")


def _check_packs(data, packs, database, hurt):
    known = {}
    rows = database.execute("SELECT key, dtype, shape, size, location FROM blobs")
    for key, dtype, shape, size, location in rows:
        if location.startswith("!"):
            if location[1:].split(":")[0] not in hurt:
                raise Broken(f"blob {key.hex()[:12]} is damaged: {location}")
            continue
        pack, kind, offset = location.split(":")
        known.setdefault(pack, []).append((key, dtype, shape, size, kind, int(offset)))
    for pack in known:
        if packs.get(pack) not in (OPEN, SEALED):
            raise Broken(f"blobs lie in pack {pack} of state {packs.get(pack)}")
    for pack, state in packs.items():
        if state == SEALED and pack not in hurt:
            _check_sealed(f"{data}/packs/{pack[:2]}/{pack}.h5", known.get(pack, []))
        elif state == OPEN and pack not in hurt:
            _check_open(f"{data}/open/{pack}.h5", known.get(pack, []))


def _check_open(path, blobs):
    for key, dtype, shape, size, kind, offset in blobs:
        if kind != "o":
            raise Broken(f"{path}: a blob of a sealed pack")
        if key_of(dtype, [int(n) for n in shape.split(",") if n], _raw(path, offset, size)) != key:
            raise Broken(f"{path}: the blob at {offset} has other bytes")


def _check_sealed(path, blobs):
    """h5py opens it, and finds each blob by its key, where the index says that it is."""
    import base64
    with h5py.File(path) as pack:
        places = {}
        for name, dataset in pack.items():
            places.setdefault(name.split("#")[0], []).append(dataset)
        for key, dtype, shape, size, kind, offset in blobs:
            if kind != "s":
                raise Broken(f"{path}: a blob of an open pack")
            name = base64.urlsafe_b64encode(key).decode()
            found = [d for d in places.get(name, []) if (d.id.get_offset() or 0) == (offset if size else 0)]
            if len(found) != 1:
                raise Broken(f"{path}: {len(found)} datasets {name} at {offset}")
            if key_of(dtype, found[0].shape, _raw(path, offset, size)) != key:
                raise Broken(f"{path}: {name} has other bytes")
            if found[0].dtype.itemsize * found[0].size != size:
                raise Broken(f"{path}: {name} has another size")
            found[0][...]  # as readers do


def _raw(path, offset, size):
    with open(path, "rb") as file:
        file.seek(offset)
        return file.read(size)
