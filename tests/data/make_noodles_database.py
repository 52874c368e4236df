"""Writes noodles-database-json.sql and noodles-database-ujson.sql: job databases that Noodles made, as SQL.

Needs the packages noodles (0.3.3), numpy, h5py, filelock and ujson. Noodles itself
runs the workflows below, printing with Python's json, then with ujson. Times are replaced.
"""
import json
import os
import shutil
import sqlite3
import sys
import tempfile

import noodles
import noodles.prov.key
import noodles.prov.sqlite
import noodles.serial.registry
import numpy
import ujson
from noodles import schedule, schedule_hint, serial
from noodles.run.single.sqlite3 import run_single
from noodles.run.threading.sqlite3 import run_parallel
from noodles.serial.numpy import arrays_to_string

HERE = os.path.dirname(os.path.abspath(__file__))


@schedule
def in_script(x):
    return x


@schedule_hint(version=None)
def in_script_without_version(x):
    return x


def registry():
    return serial.base() + arrays_to_string()


def run(database, workflow, runner=run_single, **options):
    try:
        return runner(workflow, registry=registry, db_file=database, **options)
    except ValueError as error:
        return repr(error)


def run_all(database):
    import noodles_lab as lab

    def parallel(workflow, **options):
        return run(database, workflow, run_parallel, n_threads=1, echo_log=False, **options)

    run(database, lab.add(lab.mul(2, 3), lab.mul(2, 3)))      # one attached
    run(database, lab.add(lab.mul(2, 3), 1.5))                # one retrieved
    run(database, lab.factorial(3))                           # workflows, linked
    parallel(lab.factorial(3), always_cache=True)             # retrieved, and stored once more
    run(database, lab.grid(600))                              # an array
    run(database, lab.seventh(1e-7))                          # version 7, a number
    run(database, lab.seventh_too(1e22))                      # version "7", a string
    run(database, lab.text("a/\u00fc\u20ac\x7f"))
    run(database, lab.nothing(1))                             # null, as is …
    run(database, lab.fails(1))                               # … a failure
    run(database, lab.calls_fails(1))                         # a workflow linked to a failure
    run(database, lab.breaks_off(1))                          # a workflow that was never linked
    parallel(lab.add(lab.kept(1), lab.kept(2)))               # final jobs that were not to be stored
    run(database, in_script(1))
    run(database, in_script_without_version(1))


def dump(database, path):
    with sqlite3.connect(database) as connection:
        connection.execute("update sessions set time = '2026-01-01 00:00:00'")
        connection.commit()
        with open(path, "w", encoding="utf-8") as out:
            out.writelines(line + "\n" for line in connection.iterdump())


def main():
    for printer in (json, ujson):
        for module in (noodles.prov.key, noodles.prov.sqlite, noodles.serial.registry):
            module.json = printer
        folder = tempfile.mkdtemp()
        database = os.path.join(folder, "jobs.db")
        run_all(database)
        dump(database, os.path.join(HERE, "noodles-database-%s.sql" % printer.__name__))
        shutil.rmtree(folder)
    print("numpy", numpy.__version__, "ujson", ujson.__version__, "python", sys.version.split()[0])


if __name__ == "__main__":
    main()
