"""Timing and memory of functions, side by side."""

import os
import statistics
import threading
import time


def interleaved(functions, runs):
    """Seconds per call of each function, medians over interleaved runs.

    Args:
        functions: Dict `{name: function without arguments that waits for its result}`.
        runs: How often each one runs, in turns, so that a slow spell of the machine hits all.
    """
    for function in functions.values():
        function()
    times = {name: [] for name in functions}
    for _ in range(runs):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(found) for name, found in times.items()}


def resident_peak(function):
    """Most that the process grew while the function ran, in MB: sampled, so a lower bound."""
    function()
    page, growth, done = os.sysconf("SC_PAGE_SIZE"), [0], threading.Event()

    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * page

    before = resident()

    def watch():
        while not done.is_set():
            growth[0] = max(growth[0], resident() - before)
            time.sleep(0.0005)

    thread = threading.Thread(target=watch)
    thread.start()
    function()
    done.set()
    thread.join()
    return growth[0] / 1e6


def print_table(columns, rows):
    rows = [columns, *([str(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for i, row in enumerate(rows):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        print("| " + " | ".join(cells) + " |", flush=True)
        if i == 0:
            print("|" + "|".join("-" * (width + 2) for width in widths) + "|")
