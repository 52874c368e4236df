"""What a disk would hold after a power cut, told from the layer's tape.

The model is stricter than ext4: a file's bytes are durable only after a sync of the file that began after they were
written, a name only after a sync of its folder. A failed sync makes nothing durable, and later ones do not make up for it:
the kernel may have dropped the pages. Renames are atomic.
"""
import os

PAGE = 4096
VARIANTS = ("none", "all", "prefix", "pages")


class File:
    def __init__(self, data=b""):
        self.durable = bytearray(data)
        self.pending = []  # [offset or None, bytes or size, can still be synced]

    def write(self, offset, data):
        self.pending.append([offset, data, True])

    def resize(self, size, only_grow):
        self.pending.append([None, (size, only_grow), True])

    def synced(self, upto, ok):
        """Of the first `upto` pending changes."""
        if not ok:
            for change in self.pending[:upto]:
                change[2] = False
            return
        kept = []
        for i, change in enumerate(self.pending):
            if i < upto and change[2]:
                _apply(self.durable, change)
            else:
                kept.append(change)
        self.pending = kept

    def image(self, variant, rng):
        data = bytearray(self.durable)
        if variant in ("all", "prefix"):
            n = len(self.pending) if variant == "all" else rng.randint(0, len(self.pending))
            for change in self.pending[:n]:
                _apply(data, change)
        elif variant == "pages":
            self._apply_pages(data, rng)
        return data

    def _apply_pages(self, data, rng):
        """Of each page, the writes up to some moment reached the disk."""
        n = len(self.pending)
        until = {}
        def reached(page, i):
            if page not in until:
                until[page] = rng.choice((0, n, rng.randint(0, n)))
            return i < until[page]
        for i, (offset, what, _) in enumerate(self.pending):
            if offset is None:
                if reached("size", i):
                    _apply(data, (offset, what))
                continue
            at = 0
            while at < len(what):
                page = (offset + at) // PAGE
                length = min(PAGE - (offset + at) % PAGE, len(what) - at)
                if reached(page, i):
                    _apply(data, (offset + at, what[at:at + length]))
                at += length


def _apply(data, change):
    offset, what = change[0], change[1]
    if offset is None:
        size, only_grow = what
        if size > len(data):
            data.extend(bytes(size - len(data)))
        elif not only_grow:
            del data[size:]
        return
    if offset > len(data):
        data.extend(bytes(offset - len(data)))
    data[offset:offset + len(what)] = what


class Folder:
    def __init__(self):
        self.durable = {}
        self.now = {}


class NameChange:
    """Names added and removed in one step, of one folder or two."""

    def __init__(self, add=None, remove=None):
        self.add, self.remove = add, remove  # (folder, name, node)
        self.add_durable, self.remove_durable = add is None, remove is None


class Disk:
    def __init__(self, start=None):
        """`start`: a folder whose content is taken as durable."""
        self.root = Folder()
        self.changes = []  # NameChanges that are not durable, in order
        self.handles = {}
        self.begun = {}    # sync number → (node, how much it covers)
        if start:
            self._load(self.root, start)

    def _load(self, folder, path):
        for entry in os.scandir(path):
            if entry.is_dir():
                node = Folder()
                self._load(node, entry.path)
            else:
                with open(entry.path, "rb") as file:
                    node = File(file.read())
            folder.durable[entry.name] = folder.now[entry.name] = node

    # ---- what happens

    def play(self, call):
        getattr(self, "_" + call.kind, lambda _: None)(call)

    def _find(self, path):
        node = self.root
        for name in filter(None, path.split("/")):
            if not isinstance(node, Folder):
                return None
            node = node.now.get(name)
        return node

    def _parent(self, path):
        folder, _, name = path.rpartition("/")
        return self._find(folder), name

    def _create(self, call):
        folder, name = self._parent(call.path)
        node = folder.now.get(name)
        if node is None:
            node = folder.now[name] = File()
            self.changes.append(NameChange(add=(folder, name, node)))
        self.handles[call.handle] = node

    def _open(self, call):
        node = self._find(call.path)
        self.handles[call.handle] = node
        if call.offset & os.O_TRUNC and isinstance(node, File):
            node.resize(0, False)

    def _close(self, call):
        self.handles.pop(call.handle, None)

    def _write(self, call):
        self.handles[call.handle].write(call.offset, call.data)

    def _truncate(self, call):
        self.handles[call.handle].resize(call.offset, False)

    def _allocate(self, call):
        self.handles[call.handle].resize(call.offset, True)

    def _mkdir(self, call):
        folder, name = self._parent(call.path)
        node = folder.now[name] = Folder()
        self.changes.append(NameChange(add=(folder, name, node)))

    def _unlink(self, call):
        folder, name = self._parent(call.path)
        node = folder.now.pop(name, None) if folder else None
        if node is not None:
            self.changes.append(NameChange(remove=(folder, name, node)))

    _rmdir = _unlink

    def _rename(self, call):
        folder, name = self._parent(call.path)
        to, name2 = self._parent(call.path2)
        node = folder.now.pop(name)
        to.now[name2] = node
        self.changes.append(NameChange(add=(to, name2, node), remove=(folder, name, node)))

    def _sync_begins(self, call):
        node = self.handles.get(call.handle)
        covers = len(node.pending) if isinstance(node, File) else len(self.changes)
        self.begun[call.sync] = (node, list(node.pending) if isinstance(node, File)
                                 else self.changes[:covers])

    def _sync(self, call):
        node, covered = self.begun.pop(call.sync)
        if not isinstance(node, File):
            return
        # Another sync may have ended meanwhile: what it made durable is not pending any more.
        ids = {id(change) for change in covered}
        upto = sum(id(change) in ids for change in node.pending)
        node.synced(upto, call.result == 0)

    def _sync_folder(self, call):
        folder, covered = self.begun.pop(call.sync)
        if call.result != 0 or folder is None:
            return
        for change in covered:
            if change.remove and change.remove[0] is folder:
                self._make_durable(change, True)
            elif change.add and change.add[0] is folder:
                self._make_durable(change, False)
        self.changes = [c for c in self.changes if not (c.add_durable and c.remove_durable)]

    @staticmethod
    def _make_durable(change, removal):
        if not change.add_durable:
            folder, name, node = change.add
            folder.durable[name] = node
            change.add_durable = True
        if removal and not change.remove_durable:
            folder, name, node = change.remove
            if folder.durable.get(name) is node:
                del folder.durable[name]
            change.remove_durable = True

    # ---- what there would be

    def now(self):
        """Path → bytes, as the running system sees it; folders → None."""
        return self._list(self.root, "", {}, lambda f: f.now, lambda f: bytes(f.image("all", None)))

    def _list(self, folder, below, out, entries, content):
        for name, node in entries(folder).items():
            if isinstance(node, Folder):
                out[below + name] = None
                self._list(node, below + name + "/", out, entries, content)
            else:
                out[below + name] = content(node)
        return out

    def write_image(self, path, variant, rng):
        """Makes the folder `path` as a power cut now would leave the root."""
        for name, content in self.image(variant, rng).items():
            if content is None:
                os.makedirs(os.path.join(path, name), exist_ok=True)
            else:
                with open(os.path.join(path, name), "wb") as file:
                    file.write(content)

    def image(self, variant, rng):
        names = self._names(variant, rng)
        return self._list(self.root, "", {}, lambda f: names.get(f, f.durable),
                          lambda f: f.image(variant, rng))

    def _names(self, variant, rng):
        """The names in folders whose names are not all durable, after a cut."""
        if variant == "none":
            return {}
        cut = {}
        def reached(folder, i):
            if folder not in cut:
                cut[folder] = (len(self.changes) if variant == "all"
                               else rng.randint(0, len(self.changes)))
            return i < cut[folder]
        names = {}
        def of(folder):
            return names.setdefault(folder, dict(folder.durable))
        for i, change in enumerate(self.changes):
            added = change.add_durable
            if not added and reached(change.add[0], i):
                folder, name, node = change.add
                of(folder)[name] = node
                added = True
            if added and not change.remove_durable and reached(change.remove[0], i):
                folder, name, node = change.remove
                if of(folder).get(name) is node:
                    del of(folder)[name]
        return names
