#!/usr/bin/env python3
"""A gnuplot script that draws the last run of `sha256`: time against size, tiffin's keys beside the bare hash and a
line of 0.306 GB/s, the hash of a Python program.

  plot_sha256.py RESULTS.jsonl OUT.svg | gnuplot
"""
import json, re, sys

PYTHON = 0.306  # GB/s


def last_run(path):
    """Power of two of doubles: GB/s of keys, GB/s of the bare hash."""
    rates = {}
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            result = json.loads(line)
            power = re.fullmatch(r"sha256_2\^(\d+)", result["name"])
            if power:
                rates[int(power[1])] = result["value"], result["floor"]
    return rates


def main(path, out):
    rates = last_run(path)
    if not rates:
        sys.exit(f"{path}: no results of sha256")
    print("$times << EOD")
    for power, (key, bare) in sorted(rates.items()):
        size = 8 << power
        print(size, size / key / 1e9, size / bare / 1e9)
    print(f"""EOD
set terminal svg size 800,600 font "sans,14" background "white"
set output {json.dumps(out)}
set logscale xy
set format x "10^{{%L}}"
set format y "10^{{%L}}"
set xlabel "bytes"
set ylabel "seconds"
set key left top
set grid
plot x / {PYTHON}e9 title "{PYTHON} GB/s, Python" with lines dashtype 2 linecolor "gray40", \\
  $times using 1:3 title "bare SHA-256" with lines linecolor "orange", \\
  $times using 1:2 title "blob key" with points pointtype 7 linecolor "blue\"""")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
