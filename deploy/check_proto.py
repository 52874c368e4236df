"""Checks that proto/tiffin/v1 still speaks to clients and servers built from an older version.

The lock file holds every message, enum and rpc as it was released. What it holds must stay: a
removal, another number, name, type, label, oneof, enum value or rpc signature is an error. Additions
are compatible; --update writes them into the lock, and --complete insists that they are there, so
that from then on they are kept too.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

from google.protobuf import descriptor_pb2

PACKAGE = "tiffin.v1"
FIELD = descriptor_pb2.FieldDescriptorProto


def compile_protos(root: pathlib.Path) -> descriptor_pb2.FileDescriptorSet:
    protos = sorted(root.glob(PACKAGE.replace(".", "/") + "/*.proto"))
    if not protos:
        raise SystemExit(f"check-proto: no .proto file of {PACKAGE} below {root}")
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder, "set.pb")
        command = [os.environ.get("PROTOC", "protoc"), "-I", root, "--include_imports",
                   f"--descriptor_set_out={out}", *protos]
        if subprocess.run(command, check=False).returncode != 0:
            raise SystemExit("check-proto: protoc refused the files")
        return descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes())


def describe_field(field, message) -> dict:
    label = FIELD.Label.Name(field.label).removeprefix("LABEL_").lower()
    if label == "optional" and not field.proto3_optional:
        label = "singular"
    entry = {
        "name": field.name,
        "type": field.type_name.lstrip(".") or FIELD.Type.Name(field.type)[len("TYPE_"):].lower(),
        "label": label,
    }
    if field.HasField("oneof_index") and not field.proto3_optional:
        entry["oneof"] = message.oneof_decl[field.oneof_index].name
    return entry


def reserved_ranges(ranges, inclusive: bool) -> list:
    return [[r.start, r.end if inclusive else r.end - 1] for r in ranges]


def snapshot(files: descriptor_pb2.FileDescriptorSet) -> dict:
    """What of the package is visible on the wire or in generated code, by full name."""
    found = {"messages": {}, "enums": {}, "services": {}}

    def add_enum(prefix, enum):
        found["enums"][f"{prefix}.{enum.name}"] = {
            "values": {value.name: value.number for value in enum.value},
            "reserved": reserved_ranges(enum.reserved_range, inclusive=True)
            + list(enum.reserved_name),
        }

    def add_message(prefix, message):
        name = f"{prefix}.{message.name}"
        found["messages"][name] = {
            "fields": {str(f.number): describe_field(f, message) for f in message.field},
            "reserved": reserved_ranges(message.reserved_range, inclusive=False)
            + list(message.reserved_name),
        }
        for inner in message.nested_type:
            add_message(name, inner)
        for inner in message.enum_type:
            add_enum(name, inner)

    for file in files.file:
        if file.package != PACKAGE:
            continue
        for message in file.message_type:
            add_message(file.package, message)
        for enum in file.enum_type:
            add_enum(file.package, enum)
        for service in file.service:
            found["services"][f"{file.package}.{service.name}"] = {
                rpc.name: {
                    "request": rpc.input_type.lstrip("."),
                    "response": rpc.output_type.lstrip("."),
                    "client_streaming": rpc.client_streaming,
                    "server_streaming": rpc.server_streaming,
                }
                for rpc in service.method
            }
    return found


class Comparison:
    """What is broken, and what is new, from `old` to `new`."""

    def __init__(self, old: dict, new: dict):
        self.breaks: list[str] = []
        self.additions: list[str] = []
        for kind, name, then, now in self._pairs(old["messages"], new["messages"], "message"):
            self._fields(name, then["fields"], now["fields"])
            self._reserved(f"{kind} {name}", then, now)
        for kind, name, then, now in self._pairs(old["enums"], new["enums"], "enum"):
            self._values(name, then["values"], now["values"])
            self._reserved(f"{kind} {name}", then, now)
        for _, name, then, now in self._pairs(old["services"], new["services"], "service"):
            for _, rpc, was, is_ in self._pairs(then, now, "rpc", f"{name}/"):
                self._members(f"rpc {rpc}", was, is_)

    def _pairs(self, old, new, kind, prefix=""):
        """Those in both, as (kind, name, old, new); notes the others."""
        for name in new.keys() - old.keys():
            self.additions.append(f"{kind} {prefix}{name}")
        for name, then in old.items():
            if name in new:
                yield kind, prefix + name, then, new[name]
            else:
                self.breaks.append(f"{kind} {prefix}{name} was removed")

    def _members(self, where, then, now):
        for member in sorted(then.keys() | now.keys()):
            if then.get(member) != now.get(member):
                self.breaks.append(f"{where}: {member} was {then.get(member, 'none')}, "
                                   f"is {now.get(member, 'none')}")

    def _fields(self, message, then, now):
        numbers = {field["name"]: number for number, field in now.items()}
        for number, field in then.items():
            where = f"message {message}, field {field['name']} = {number}"
            if numbers.get(field["name"], number) != number:
                self.breaks.append(f"{where}: its number is now {numbers[field['name']]}")
            elif number not in now:
                self.breaks.append(f"{where} was removed")
            else:
                self._members(where, field, now[number])
        for number in now.keys() - then.keys():
            self.additions.append(f"message {message}, field {now[number]['name']} = {number}")

    def _values(self, enum, then, now):
        for name, number in then.items():
            if name not in now:
                self.breaks.append(f"enum {enum}, value {name} = {number} was removed")
            elif now[name] != number:
                self.breaks.append(f"enum {enum}, value {name} = {number}: is now {now[name]}")
        for name in now.keys() - then.keys():
            self.additions.append(f"enum {enum}, value {name} = {now[name]}")

    def _reserved(self, where, then, now):
        for entry in then["reserved"]:
            if isinstance(entry, str):
                kept = entry in now["reserved"]
            else:
                kept = any(not isinstance(r, str) and r[0] <= entry[0] and entry[1] <= r[1]
                           for r in now["reserved"])
            if not kept:
                self.breaks.append(f"{where}: {entry} is no longer reserved")
        for entry in now["reserved"]:
            if entry not in then["reserved"]:
                self.additions.append(f"{where}, reserved {entry}")


def main() -> int:
    proto = pathlib.Path(__file__).resolve().parent.parent / "proto"
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--proto", type=pathlib.Path, default=proto, help="folder of the imports")
    parser.add_argument("--lock", type=pathlib.Path, help="PROTO/tiffin/v1/v1.lock.json")
    parser.add_argument("--update", action="store_true",
                        help="write the lock; refuses a break unless --force is given too")
    parser.add_argument("--force", action="store_true", help="(before a release only)")
    parser.add_argument("--complete", action="store_true",
                        help="additions that are not in the lock are an error")
    args = parser.parse_args()
    lock = args.lock or args.proto / PACKAGE.replace(".", "/") / "v1.lock.json"

    now = snapshot(compile_protos(args.proto))
    then = json.loads(lock.read_text()) if lock.exists() else None
    if then is None and not args.update:
        print(f"check-proto: {lock} is missing; deploy/check-proto.sh --update writes it",
              file=sys.stderr)
        return 1

    comparison = Comparison(then, now) if then else None
    if comparison and comparison.breaks and not args.force:
        print(f"check-proto: {PACKAGE} breaks its older clients and servers:", file=sys.stderr)
        for line in sorted(comparison.breaks):
            print(f"  {line}", file=sys.stderr)
        return 1
    if args.update:
        lock.write_text(json.dumps(now, indent=1, sort_keys=True) + "\n")
        print(f"check-proto: wrote {lock}")
        return 0
    for line in sorted(comparison.additions):
        print(f"check-proto: new, not in the lock yet: {line}")
    if args.complete and comparison.additions:
        print("check-proto: run deploy/check-proto.sh --update and commit the lock", file=sys.stderr)
        return 1
    print(f"check-proto: {PACKAGE} is compatible: {len(then['messages'])} messages, "
          f"{len(then['enums'])} enums, {sum(map(len, then['services'].values()))} rpcs kept")
    return 0


if __name__ == "__main__":
    sys.exit(main())
