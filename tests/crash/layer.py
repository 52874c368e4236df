"""The file layer from outside: its rules and counters (layer_control.h has the same layout), and its tape."""
import enum, errno, mmap, os, struct, subprocess

KINDS = ("open create write truncate allocate sync sync_folder rename unlink mkdir read map close "
         "sync_begins rmdir").split()
NUMBER = {name: i for i, name in enumerate(KINDS)}
# Calls that change the disk, or make a change durable.
CHANGES = "create write truncate allocate sync sync_folder rename unlink mkdir rmdir".split()

_COUNTERS = struct.Struct("<16Q")
_RULE = struct.Struct("<IiQQQQQ80s")
_SLOTS = 8
_RECORD = struct.Struct("<IiQqQIIQ")


class Action(enum.IntEnum):
    NOTHING, FAIL, SHORT, KILL_BEFORE, KILL_AFTER = range(5)


class Control:
    """A page shared with the layer of a running process."""

    def __init__(self, path):
        self.path = path
        size = _COUNTERS.size + _SLOTS * _RULE.size
        with open(path, "wb") as file:
            file.truncate(size)
        with open(path, "r+b") as file:
            self.page = mmap.mmap(file.fileno(), size)

    def calls(self):
        """How many calls of each kind there were."""
        return dict(zip(KINDS, _COUNTERS.unpack_from(self.page, 0)))

    def set(self, slot, action, kinds, path="", first=1, count=1, error=errno.EIO):
        """`count` calls from the `first` (from 1) that match: `count` 0 for all, until `clear`."""
        at = _COUNTERS.size + slot * _RULE.size
        bits = sum(1 << NUMBER[kind] for kind in kinds)
        self.clear(slot)
        _RULE.pack_into(self.page, at, 0, error, bits, first, count, 0, 0, path.encode())
        struct.pack_into("<I", self.page, at, action)  # last: now it holds

    def clear(self, slot=None):
        for each in range(_SLOTS) if slot is None else [slot]:
            struct.pack_into("<I", self.page, _COUNTERS.size + each * _RULE.size, 0)

    def seen(self, slot):
        return self._rule(slot)[5]

    def hits(self, slot):
        return self._rule(slot)[6]

    def _rule(self, slot):
        return _RULE.unpack_from(self.page, _COUNTERS.size + slot * _RULE.size)


class Call:
    """One record of a tape."""
    __slots__ = ("kind", "result", "handle", "offset", "sync", "path", "path2", "data", "at")

    def __repr__(self):
        return f"{self.kind} {self.path} {self.path2} {self.offset} {len(self.data)} = {self.result}"


def read_tape(path, start=0):
    """The calls on the tape from byte `start` on; a last record that was cut off by a kill is left out."""
    with open(path, "rb") as file:
        file.seek(start)
        data = memoryview(file.read())
    at = 0
    while at + _RECORD.size <= len(data):
        kind, result, handle, offset, length, n, n2, sync = _RECORD.unpack_from(data, at)
        end = at + _RECORD.size + n + n2 + length
        if end > len(data):
            return
        call = Call()
        call.kind, call.result, call.handle = KINDS[kind], result, handle
        call.offset, call.sync = offset, sync
        at += _RECORD.size
        call.path = str(data[at:at + n], "utf-8")
        call.path2 = str(data[at + n:at + n + n2], "utf-8")
        call.data = data[at + n + n2:end]
        call.at = start + end
        at = end
        yield call


def environment(root, control=None, tape=None, file_system=None):
    """What a server that runs above the layer is started with. `file_system`: the number of what the root pretends to
    be on."""
    libraries = [os.environ["TIFFIN_FILE_LAYER"]]
    # A sanitizer wants to be the first library.
    linked = subprocess.run(["ldd", os.environ["TIFFIN_SERVER_BINARY"]], capture_output=True,
                            text=True, check=True).stdout
    libraries[:0] = [line.split()[2] for line in linked.splitlines() if "libasan" in line]
    leaks = os.path.join(os.path.dirname(os.path.abspath(__file__)), "leaks.supp")
    env = dict(os.environ, LD_PRELOAD=":".join(libraries), TIFFIN_LAYER_ROOT=root,
               LSAN_OPTIONS=f"suppressions={leaks}:print_suppressions=0")
    if control:
        env["TIFFIN_LAYER_CONTROL"] = control
    if tape:
        env["TIFFIN_LAYER_TAPE"] = tape
    if file_system:
        env["TIFFIN_LAYER_FILE_SYSTEM"] = hex(file_system)
    return env
