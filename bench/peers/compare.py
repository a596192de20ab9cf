#!/usr/bin/env python3
"""Epitaxy against PyTorch, training workloads A and C: same weights, same batches, same losses; five turns each, interleaved.

PyTorch gets its best configuration: tcmalloc where it is installed, pinned threads, and the fastest of the options below, found first.
Prints a table of medians with their spread and writes JSON. Exits 1 where the losses disagree.

  bench/peers/compare.py --program build/epitaxy_peer --out peers.json
"""
import argparse
import array
import glob
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
BATCHES = 4
# The first losses may differ by this much, relative to 1 or to the loss where that is larger: rounding, amplified by training.
LOSS_TOLERANCE = {"fp32": 2e-3, "bf16": 3e-2}


def write_batches(workload, folder):
    values = random.Random(7)
    batch, features = (64, 64 * 64) if workload == "A" else (32, 784)
    inputs = array.array("f", (values.random() for _ in range(BATCHES * batch * features)))
    if workload == "A":
        targets = array.array("i", (values.randrange(7) for _ in range(BATCHES * batch)))
    else:
        targets = array.array("f", (statistics.fmean(inputs[i : i + features]) for i in range(0, len(inputs), features)))
    (folder / "inputs.raw").write_bytes(inputs.tobytes())
    (folder / "targets.raw").write_bytes(targets.tobytes())


def candidates(workload, device, threads):
    if device.startswith("cuda"):
        return [["--channels-last", "--graph"], ["--graph"], ["--channels-last", "--compile"]]
    if workload == "A":
        return [["--threads", threads, *extra] for extra in ([], ["--channels-last"], ["--channels-last", "--foreach"], ["--channels-last", "--trace"])]
    return [["--threads", count, *extra] for count in ("1", threads) for extra in ([], ["--foreach"], ["--trace"])]


class Runner:
    def __init__(self, options):
        self.options = options
        self.tcmalloc = next(iter(sorted(glob.glob("/usr/lib/*/libtcmalloc_minimal.so*") + glob.glob("/usr/lib/*/libtcmalloc.so*"))), "")

    def run(self, command, extra):
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("OMP_", "GOMP_", "LD_PRELOAD"))}
        environment.update(extra)
        done = subprocess.run([str(part) for part in command], env=environment, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{' '.join(map(str, command))}: {(done.stderr.strip() or 'failed').splitlines()[-1]}")
        return json.loads(done.stdout.strip().splitlines()[-1]) if done.stdout.strip() else {}

    def epitaxy(self, arguments):
        return self.run([self.options.program, *arguments, "--threads", self.options.threads], {})

    def torch(self, arguments):
        extra = {"OMP_NUM_THREADS": str(self.options.threads), "OMP_PROC_BIND": "true"}
        if self.tcmalloc:
            extra["LD_PRELOAD"] = self.tcmalloc
        return self.run([self.options.python, HERE / "torch_twin.py", *arguments], extra)


def compare(runner, workload, precision, folder):
    options = runner.options
    common = ["--workload", workload, "--precision", precision, "--device", options.device, "--data", folder]
    steps = 20
    ours = runner.epitaxy([*common, "--losses", steps])["losses"]
    theirs = runner.torch([*common, "--threads", options.threads, "--losses", steps])["losses"]
    difference = max(abs(a - b) / max(1.0, abs(b)) for a, b in zip(ours, theirs))
    agree = len(ours) == len(theirs) == steps and difference <= LOSS_TOLERANCE[precision]

    tried = []
    for extra in candidates(workload, options.device, str(options.threads)):
        try:
            tried.append((runner.torch([*common, "--seconds", min(2, options.seconds), *extra])["samples_per_s"], extra))
        except RuntimeError as error:  # an option that this PyTorch lacks
            print(f"  not available: {' '.join(extra)}: {error}", file=sys.stderr)
    best = max(tried)[1]

    turns = []
    for _ in range(options.turns):
        a = runner.epitaxy([*common, "--seconds", options.seconds])
        b = runner.torch([*common, "--seconds", options.seconds, *best])
        turns.append((a, b))
    rates = [[turn[side]["samples_per_s"] for turn in turns] for side in (0, 1)]
    ratios = [a / b for a, b in zip(*rates)]
    return {
        "workload": workload, "precision": precision, "device": options.device, "turns": options.turns, "torch": turns[0][1]["torch"],
        "torch_options": " ".join(best), "tcmalloc": bool(runner.tcmalloc),
        "epitaxy_samples_per_s": rates[0], "torch_samples_per_s": rates[1],
        "epitaxy_median": statistics.median(rates[0]), "torch_median": statistics.median(rates[1]),
        "ratio": statistics.median(rates[0]) / statistics.median(rates[1]), "ratio_least": min(ratios), "ratio_most": max(ratios),
        "epitaxy_peak_mib": turns[-1][0]["peak_mib"], "torch_peak_mib": turns[-1][1]["peak_mib"],
        "losses_agree": agree, "largest_loss_difference": difference, "epitaxy_losses": ours, "torch_losses": theirs,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", type=lambda name: pathlib.Path(name).resolve(), required=True, help="epitaxy_peer, built with -DEPITAXY_BENCH=ON")
    parser.add_argument("--python", default=sys.executable, help="an interpreter that has torch")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6, help="timed seconds a turn")
    parser.add_argument("--only", nargs="*", default=["A/fp32", "A/bf16", "C/fp32"], help="workload/precision")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("peers.json"))
    options = parser.parse_args()

    runner = Runner(options)
    results = []
    print(f"{'':8} {'Epitaxy samples/s':>26} {'PyTorch samples/s':>26} {'ratio':>20}  losses")
    for entry in options.only:
        workload, precision = entry.split("/")
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            write_batches(workload, folder)
            runner.epitaxy(["--workload", workload, "--write-weights", folder / "weights.safetensors"])
            row = compare(runner, workload, precision, folder)
        results.append(row)
        spread = [f"{statistics.median(r):.0f} ({min(r):.0f}..{max(r):.0f})" for r in (row["epitaxy_samples_per_s"], row["torch_samples_per_s"])]
        print(f"{entry:8} {spread[0]:>26} {spread[1]:>26} {row['ratio']:6.2f} ({row['ratio_least']:.2f}..{row['ratio_most']:.2f})  "
              f"{'agree' if row['losses_agree'] else 'DISAGREE'} within {row['largest_loss_difference']:.1e}  [torch {row['torch_options']}]", flush=True)
    options.out.write_text(json.dumps(results, indent=1) + "\n")
    return 0 if all(row["losses_agree"] for row in results) else 1


if __name__ == "__main__":
    sys.exit(main())
