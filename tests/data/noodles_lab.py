"""The functions of the jobs in noodles-database-*.sql; see make_noodles_database.py."""
import numpy
from noodles import schedule, schedule_hint


@schedule
def add(x, y):
    return x + y


@schedule
def mul(x, y):
    return x * y


@schedule
def factorial(n):
    return 1 if n < 2 else mul(n, factorial(n - 1))


@schedule
def grid(n):
    return numpy.arange(n, dtype="float64").reshape(2, n // 2)


@schedule_hint(version=7)
def seventh(x):
    return x / 7


@schedule_hint(version="7")
def seventh_too(x):
    return x / 7


@schedule
def text(s):
    return s + "/"


@schedule
def nothing(x):
    return None


@schedule
def fails(x):
    raise ValueError("it fails: %s" % x)


@schedule
def calls_fails(x):
    return fails(x + 1)


@schedule
def breaks_off(x):
    return add(fails(x + 2), 1)


@schedule_hint(store=True)
def kept(x):
    return unkept(x)


@schedule
def unkept(x):
    return x + 100
