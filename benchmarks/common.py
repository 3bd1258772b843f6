"""Timing and memory of functions, side by side."""

import os
import random
import statistics
import subprocess
import sys
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
    times, order = {name: [] for name in functions}, random.Random(0)
    for _ in range(runs):
        # In another order each time: one that follows a hungry one finds the memory given back.
        for name, function in order.sample(list(functions.items()), len(functions)):
            start = time.perf_counter()
            function()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(found) for name, found in times.items()}


def in_process_that_frees(script, *arguments):
    """The last line that a script prints, run where freed blocks go back to the system at once.

    An allocator that keeps what it frees hides how much a step takes, and one that does not is
    slower: so memory is measured in a process of its own.
    """
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}
    command = [sys.executable, script, *arguments]
    printed = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return printed.stdout.splitlines()[-1]


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


def tensorflow_peak(function):
    """Most that TensorFlow's allocator held while the function ran, beyond before, in MB."""
    import tensorflow as tf

    function()
    tf.config.experimental.reset_memory_stats("CPU:0")
    before = tf.config.experimental.get_memory_info("CPU:0")["current"]
    function()
    return (tf.config.experimental.get_memory_info("CPU:0")["peak"] - before) / 1e6


def print_table(columns, rows):
    rows = [columns, *([str(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for i, row in enumerate(rows):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        print("| " + " | ".join(cells) + " |", flush=True)
        if i == 0:
            print("|" + "|".join("-" * (width + 2) for width in widths) + "|")
