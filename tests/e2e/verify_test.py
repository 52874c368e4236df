"""Damage of each kind, found by `tiffin verify` and in the background: named exactly, set aside, healed."""
import base64, contextlib, json, os, signal, sqlite3, subprocess, unittest

import grpc
import numpy

from blob_support import name_of, parts, refer, text_of
from support import Server, caller, get, job, store, submit
from tiffin.v1 import admin_pb2, blobs_pb2, jobs_pb2

MIB = 1 << 20


class Verify(unittest.TestCase):
    def setUp(self):
        self.server = Server("--allow-local", "--verify-rate", "0")
        self.addCleanup(self.server.close)

    def put(self, array):
        return self.server.blobs.Put(parts(name_of(array), array.tobytes())).name

    def tiffin(self, *arguments):
        """Exit code and what was printed, a JSON object a line."""
        done = subprocess.run([os.environ["TIFFIN_CLI_BINARY"], "--server", self.server.address,
                               "--json", *arguments], capture_output=True, text=True)
        self.assertEqual(done.stderr, "")
        return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]

    def made(self, n, array):
        """The key of a job whose result holds the array."""
        answer = submit(self.server, job("makes", n))
        store(self.server, answer, [refer(array)])
        return answer.key

    def hit(self, key):
        try:
            get(self.server, key)
            return True
        except grpc.RpcError as error:
            self.assertEqual(error.code(), grpc.StatusCode.NOT_FOUND)
            self.assertIn("damaged", error.details())
            return False

    def place(self, array):
        """File and offset of the array's bytes, wherever they lie."""
        stat = self.server.blobs.Stat(blobs_pb2.StatRequest(
            caller=caller(), ref=blobs_pb2.BlobRef(name=name_of(array))))
        folder = os.path.join("packs", stat.pack[:2]) if stat.sealed else "open"
        path = os.path.join(self.server.data, folder, stat.pack + ".h5")
        with open(path, "rb") as pack:
            offset = pack.read().find(array.tobytes())
        self.assertGreater(offset, 0)
        return path, offset

    @staticmethod
    def flip(path, at):
        with open(path, "r+b") as pack:
            pack.seek(at)
            byte = pack.read(1)
            pack.seek(at)
            pack.write(bytes([byte[0] ^ 0x10]))

    def test_each_kind_of_damage_is_named_set_aside_and_heals(self):
        rng = numpy.random.default_rng(1)
        flipped, cut, gone, sound = (rng.random(400_000) for _ in range(4))
        small, small_sound = rng.random(1000), rng.random(1001)
        arrays = [flipped, cut, gone, sound, small, small_sound]
        for array in arrays:
            self.put(array)
        keys = [self.made(i, array) for i, array in enumerate(arrays)]
        code, (total,) = self.tiffin("verify", "--keys")
        self.assertEqual((code, total["blobs"], total["damaged_blobs"]), (0, 6, 0))
        self.assertEqual(total["bytes"], sum(a.nbytes for a in arrays))
        self.assertEqual((total["total_blobs"], total["total_bytes"]),
                         (total["blobs"], total["bytes"]))
        # Mapped and checked before: a later change of the file is found all the same.
        places = {}
        for i, array in enumerate(arrays):
            list(self.server.blobs.Deref(blobs_pb2.DerefRequest(
                caller=caller(), ref=blobs_pb2.BlobRef(name=name_of(array)))))
            places[i] = self.place(array)
        self.flip(places[0][0], places[0][1] + 2 * MIB + 5)
        os.truncate(places[1][0], places[1][1] + MIB)
        os.unlink(places[2][0])
        self.flip(places[4][0], places[4][1] + 3)

        code, (*damaged, total) = self.tiffin("verify")
        self.assertEqual((code, total["damaged_blobs"], total["blobs"]), (3, 4, 6))
        found = {d["name"]["key"]: d for d in damaged}
        for i, what in [(0, f"bytes [{2 * MIB}, {3 * MIB}) differ from their checksum"),
                        (1, f"bytes [{MIB}, 3200000) lie behind the end of the file"),
                        (2, "its pack is gone"),
                        (4, "bytes [0, 8000) differ from their checksum")]:
            damage = found[text_of(name_of(arrays[i]).key)]
            self.assertEqual(damage["what"], what)
            self.assertEqual(os.path.join(self.server.data, damage["pack"]), places[i][0])
            self.assertEqual(damage["offset"], places[i][1])
            self.assertEqual(damage["jobs"], [text_of(keys[i])])
        self.assertEqual([self.hit(key) for key in keys],
                         [False, False, False, True, False, True])
        why = self.server.jobs.Explain(jobs_pb2.ExplainRequest(caller=caller(), key=keys[0]))
        self.assertEqual(why.cause, jobs_pb2.MISS_DAMAGED)
        stats = self.server.admin.Stats(admin_pb2.StatsRequest())
        self.assertEqual((stats.damaged_blobs, stats.damage_found), (4, 4))
        self.assertGreater(stats.verified_bytes, 0)

        # Known as it is, also by the next server.
        self.server.stop()
        self.server.start()
        code, (*damaged, total) = self.tiffin("verify")
        self.assertEqual((code, len(damaged)), (3, 4))
        for damage in damaged:
            self.assertIn("set aside before", damage["what"])
        for i in (0, 1, 2, 4):
            self.put(arrays[i])
            self.assertEqual(self.made(i, arrays[i]), keys[i])
        code, (total,) = self.tiffin("verify", "--keys")
        self.assertEqual((code, total["damaged_blobs"]), (0, 0))
        self.assertEqual([self.hit(key) for key in keys], [True] * 6)

    def test_what_cannot_be_looked_at_hides_no_damage(self):
        rng = numpy.random.default_rng(7)
        hidden, flipped = rng.random(400_000), rng.random(400_001)
        self.put(hidden)
        self.put(flipped)
        key = self.made(1, flipped)
        path, offset = self.place(flipped)
        self.flip(path, offset + 8)
        path, _ = self.place(hidden)
        self.server.stop()
        os.rename(path, path + ".away")
        os.symlink(os.path.basename(path), path)  # to itself: it cannot be opened
        self.server.start()
        done = subprocess.run([os.environ["TIFFIN_CLI_BINARY"], "--server", self.server.address, "--json", "verify"],
                              capture_output=True, text=True)
        self.assertEqual(done.returncode, 3, done.stderr)
        self.assertIn("not all could be checked: " + text_of(name_of(hidden).key), done.stderr)
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual([line["name"]["key"] for line in lines if "name" in line], [text_of(name_of(flipped).key)])
        self.assertFalse(self.hit(key))

    def test_a_shape_that_the_index_has_wrong_ends_no_server(self):
        array = numpy.zeros(50_000_000)  # 400 MB
        self.put(array)
        self.server.stop()
        with contextlib.closing(sqlite3.connect(os.path.join(self.server.data, "tiffin.db"))) as database, database:
            changed = database.execute("UPDATE blobs SET shape = '90000000' WHERE shape = '50000000'").rowcount
        self.assertEqual(changed, 1)
        self.server.start()
        ref = blobs_pb2.BlobRef(name=name_of(array))
        ref.name.shape[:] = [90_000_000]
        slab = blobs_pb2.Slab(dimensions=[blobs_pb2.Slab.Dimension(start=89_000_000, count=1, stride=1)])
        with self.assertRaises(grpc.RpcError) as caught:
            list(self.server.blobs.Deref(blobs_pb2.DerefRequest(caller=caller(), ref=ref, slab=slab)))
        self.assertEqual(caught.exception.code(), grpc.StatusCode.DATA_LOSS)
        self.assertIn("the index has it with 400000000 bytes", caught.exception.details())
        self.put(array)  # it serves on
        list(self.server.blobs.Deref(blobs_pb2.DerefRequest(caller=caller(), ref=blobs_pb2.BlobRef(name=name_of(array)), limit=8)))

    def test_damage_that_sealing_finds_makes_misses_too(self):
        arrays = [numpy.full(2000, i) for i in range(3)]
        keys = []
        for i, array in enumerate(arrays):
            self.put(array)
            keys.append(self.made(i, array))
        path, at = self.place(arrays[1])
        self.flip(path, at + 9)
        self.assertEqual(self.server.admin.Seal(admin_pb2.SealRequest()).damaged, 1)
        self.assertEqual([self.hit(key) for key in keys], [True, False, True])

    def test_a_result_in_a_damaged_row_is_named_missed_and_healed(self):
        answers = [submit(self.server, job("inline", n)) for n in range(3)]
        for n, answer in enumerate(answers):
            store(self.server, answer, [n, "a result"])
        keys = [answer.key for answer in answers]
        self.server.stop()
        with contextlib.closing(sqlite3.connect(os.path.join(self.server.data, "tiffin.db"))) as db:
            changed = db.execute("UPDATE results SET record = replace(record, 'a result', 'b result') "
                                 "WHERE record LIKE '[1,%'").rowcount
            db.commit()
        self.assertEqual(changed, 1)
        self.server.start()
        code, (damaged, total) = self.tiffin("verify")
        self.assertEqual((code, total["results"], total["total_damaged_results"]), (3, 3, 1))
        self.assertEqual(damaged["job"], text_of(keys[1]))
        self.assertEqual([self.hit(key) for key in keys], [True, False, True])
        why = self.server.jobs.Explain(jobs_pb2.ExplainRequest(caller=caller(), key=keys[1]))
        self.assertEqual(why.cause, jobs_pb2.MISS_DAMAGED)
        self.assertEqual(self.server.admin.Stats(admin_pb2.StatsRequest()).damaged_results, 1)
        again = submit(self.server, job("inline", 1))
        store(self.server, again, [1, "a result"])
        self.assertEqual(self.tiffin("verify")[0], 0)
        self.assertEqual([self.hit(key) for key in keys], [True] * 3)

    def test_damaged_rows_of_aliases_and_values_are_named_and_never_followed(self):
        answers = [submit(self.server, job("inline", n)) for n in range(2)]
        for n, answer in enumerate(answers):
            store(self.server, answer, [n, {"_noodles": "0.3.0", "type": "<object>", "class": "m.Opaque",
                                            "data": base64.b64encode(bytes([n]) * 6000).decode()}])
            self.server.jobs.Alias(jobs_pb2.AliasRequest(caller=caller(), set=jobs_pb2.AliasRequest.Set(
                alias=jobs_pb2.AliasName(profile="p", name=f"name{n}"), key=answer.key)))
        keys = [answer.key for answer in answers]
        refs = [json.loads(get(self.server, key).record.json)[1] for key in keys]
        self.server.stop()
        with contextlib.closing(sqlite3.connect(os.path.join(self.server.data, "tiffin.db"))) as db:
            # Each to the other's: rows that are whole, but not what was written.
            jobs = [row for row, in db.execute("SELECT job FROM aliases ORDER BY name")]
            db.execute("UPDATE aliases SET job = ? WHERE name = 'name0'", (jobs[1],))
            values = db.execute("SELECT value, blob FROM value_digests").fetchall()
            self.assertEqual(len(values), 2)
            db.execute("UPDATE value_digests SET blob = ? WHERE value = ?", (values[1][1], values[0][0]))
            db.commit()
        self.server.start()
        code, lines = self.tiffin("verify")
        self.assertEqual((code, lines[-1]["rows"], lines[-1]["total_damaged_rows"]), (3, 4, 2))
        self.assertEqual([(line["table"], line["row"]) for line in lines[:-1]],
                         [("aliases", "p name0"), ("value_digests", text_of(values[0][0]))])

        def by_alias(n):
            return self.server.jobs.GetResult(jobs_pb2.GetResultRequest(caller=caller(), job=jobs_pb2.JobName(
                alias=jobs_pb2.AliasName(profile="p", name=f"name{n}"))))
        with self.assertRaises(grpc.RpcError) as caught:
            by_alias(0)
        self.assertEqual(caught.exception.code(), grpc.StatusCode.DATA_LOSS)
        self.assertIn("set the alias again", caught.exception.details())
        self.assertEqual(by_alias(1).key, keys[1])
        self.server.jobs.Alias(jobs_pb2.AliasRequest(caller=caller(), set=jobs_pb2.AliasRequest.Set(
            alias=jobs_pb2.AliasName(profile="p", name="name0"), key=keys[0])))
        self.assertEqual(by_alias(0).key, keys[0])

        def fetch(ref):
            request = blobs_pb2.DerefRequest(caller=caller())
            request.ref.value = base64.urlsafe_b64decode(ref["data"]["value"])
            return b"".join(part.chunk for part in self.server.blobs.Deref(request))
        damaged = [ref for ref in refs if base64.urlsafe_b64decode(ref["data"]["value"]) == values[0][0]]
        self.assertEqual(len(damaged), 1)
        for ref in refs:
            if ref is damaged[0]:
                with self.assertRaises(grpc.RpcError) as caught:
                    fetch(ref)
                self.assertEqual(caught.exception.code(), grpc.StatusCode.NOT_FOUND)
            else:
                self.assertEqual(len(fetch(ref)), ref["data"]["size"])
        # Made anew: the value's own blob cannot be told any more, so that the result that needs it misses.
        self.server.stop()
        done = subprocess.run([os.environ["TIFFIN_SERVER_BINARY"], "--rebuild", "--data",
                               self.server.data], capture_output=True, text=True, timeout=240)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.server.start()
        self.assertEqual([self.hit(key) for key in keys], [ref is not damaged[0] for ref in refs])
        code, lines = self.tiffin("verify")
        self.assertEqual((code, lines[-1]["total_damaged_rows"]), (0, 0))

    def test_a_damaged_row_of_a_job_is_named_and_hides_no_other(self):
        answers = [submit(self.server, job("inline", n)) for n in range(3)]
        for n, answer in enumerate(answers):
            store(self.server, answer, [n])
        keys = [answer.key for answer in answers]
        self.server.stop()
        with contextlib.closing(sqlite3.connect(os.path.join(self.server.data, "tiffin.db"))) as db:
            row, = db.execute("SELECT id FROM jobs WHERE key = ?", (keys[1],)).fetchone()
            db.execute("UPDATE jobs SET epoch = epoch + 1 WHERE id = ?", (row,))
            db.commit()
        self.server.start()
        for _ in range(2):
            code, (damaged, total) = self.tiffin("verify")
            self.assertEqual((code, total["jobs"], total["total_damaged_jobs"]), (3, 3, 1))
            self.assertEqual((damaged["row"], damaged["key"]), (row, text_of(keys[1])))
        self.assertEqual([self.hit(key) for key in (keys[0], keys[2])], [True, True])
        listed = self.server.jobs.ListJobs(jobs_pb2.ListJobsRequest(caller=caller())).jobs
        self.assertEqual({each.key for each in listed}, {keys[0], keys[2]})
        # Its value is known to be its own; what else is known of it is not.
        self.assertEqual(get(self.server, keys[1]).record.json, b"[1]")
        with self.assertRaises(grpc.RpcError) as caught:
            self.server.jobs.GetJob(jobs_pb2.GetJobRequest(caller=caller(), job=jobs_pb2.JobName(key=keys[1])))
        self.assertEqual(caught.exception.code(), grpc.StatusCode.DATA_LOSS)
        self.assertIn("--rebuild", caught.exception.details())
        # Made anew, it is as if never seen.
        self.server.stop()
        done = subprocess.run([os.environ["TIFFIN_SERVER_BINARY"], "--rebuild", "--data",
                               self.server.data], capture_output=True, text=True, timeout=240)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("jobs 2, lost 1", done.stdout)
        self.server.start()
        self.assertEqual([self.hit(key) for key in (keys[0], keys[2])], [True, True])
        again = submit(self.server, job("inline", 1))
        self.assertEqual((again.key, again.outcome), (keys[1], jobs_pb2.GRANTED))
        store(self.server, again, [1])
        self.assertEqual(self.tiffin("verify")[0], 0)

    def test_people_get_a_table(self):
        array = numpy.random.default_rng(2).random(1000)
        self.put(array)
        path, at = self.place(array)
        self.flip(path, at)
        done = subprocess.run([os.environ["TIFFIN_CLI_BINARY"], "--server", self.server.address,
                               "verify"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 3)
        self.assertIn(text_of(name_of(array).key), done.stdout)
        self.assertIn("read 0 jobs, 1 blob, 0 results, 0 other rows, 7.8 KiB; 1 damaged", done.stdout)

    def test_a_slow_pass_is_ended_by_its_caller_and_by_a_stop(self):
        self.put(numpy.random.default_rng(3).random(400_000))
        slow = admin_pb2.VerifyRequest(caller=caller(), bytes_per_second=1000)
        call = self.server.admin.Verify(slow)
        first = next(iter(call))
        self.assertEqual(first.total_blobs, 1)
        with self.assertRaises(grpc.RpcError) as caught:
            list(self.server.admin.Verify(slow))
        self.assertEqual(caught.exception.code(), grpc.StatusCode.ABORTED)
        call.cancel()
        while True:  # until the server has noticed
            try:
                call = self.server.admin.Verify(slow)
                next(iter(call))
                break
            except grpc.RpcError as error:
                self.assertEqual(error.code(), grpc.StatusCode.ABORTED)
        self.assertEqual(self.server.stop(), 0)
        with self.assertRaises(grpc.RpcError) as caught:
            list(call)
        self.assertEqual(caught.exception.code(), grpc.StatusCode.UNAVAILABLE)

    def test_the_background_finds_damage(self):
        array = numpy.random.default_rng(4).random(400_000)
        self.put(array)
        key = self.made(1, array)
        path, at = self.place(array)
        self.server.stop(signal.SIGKILL)
        self.flip(path, at + 5)
        self.server.flags = ("--verify-rate", "1000", "--verify-every", "0.05")
        self.server.start()
        while self.server.admin.Stats(admin_pb2.StatsRequest()).damaged_blobs == 0:
            pass
        while self.hit(key):  # taken back when it was written down
            pass
        while self.server.admin.Stats(admin_pb2.StatsRequest()).verify_passes < 3:
            pass


if __name__ == "__main__":
    unittest.main()
