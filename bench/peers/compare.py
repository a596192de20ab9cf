#!/usr/bin/env python3
"""Epitaxy against PyTorch, whole training steps (workloads.py): same weights, same batches, same losses; several turns each, interleaved.

PyTorch gets its best configuration, found first: on a GPU the fastest of eager channels_last, the whole step as a CUDA graph, torch.compile
(max-autotune), and both; on a CPU tcmalloc where it is installed, pinned threads, and the fastest layout and optimizer.
Prints a table of medians with their spread, peak memory and how far the losses are from fp64 (Epitaxy to PyTorch), and writes JSON. Exits 1 where
the losses disagree.

  bench/peers/compare.py --program build/epitaxy_peer                               A, C and D on the CPU
  bench/peers/compare.py --program build/epitaxy_peer --size small --only all       every network, small: a rehearsal
  bench/peers/compare.py --program build/epitaxy_peer --device cuda --check-losses 100
"""
import argparse
import glob
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

from telemetry import Telemetry, machine, output_of
from workloads import WORKLOADS, specification

HERE = pathlib.Path(__file__).resolve().parent
ON_CPU = ["A/fp32", "A/bf16", "C/fp32", "D/fp32", "D/bf16"]
ON_GPU = ["A/bf16", "B/bf16", "C/fp32", "E/bf16", "F/bf16", "resnet50/bf16", "ebsdnet/bf16", "unet2048/bf16", "A/tf32", "F/tf32"]
# Training amplifies rounding, in the end to the size of the loss itself. PyTorch in fp64 is the judge: up to any step, Epitaxy's losses may be
# off by at most this many times what PyTorch's own are off in the same precision, and by a share of the loss where both are nearly exact.
LOSS_FACTOR = 10
LOSS_ROUNDING = {"fp32": 1e-5, "tf32": 1e-3, "bf16": 1e-2}


def candidates(spec, device, threads):
    images = len(spec["input"]) == 3
    if device.startswith("cuda"):
        layout = ["--channels-last"] if images else []
        return [layout, [*layout, "--graph"], [*layout, "--compile", "max-autotune"], [*layout, "--compile", "max-autotune-no-cudagraphs", "--graph"]]
    if images:
        return [["--threads", threads, *extra] for extra in ([], ["--channels-last"], ["--channels-last", "--foreach"], ["--channels-last", "--trace"])]
    return [["--threads", count, *extra] for count in ("1", threads) for extra in ([], ["--foreach"], ["--trace"])]


class Runner:
    def __init__(self, options, folder, spec):
        self.options, self.folder, self.spec = options, pathlib.Path(folder), spec
        (self.folder / "spec.json").write_text(json.dumps(spec))
        self.tcmalloc = next(iter(sorted(glob.glob("/usr/lib/*/libtcmalloc_minimal.so*") + glob.glob("/usr/lib/*/libtcmalloc.so*"))), "")

    def run(self, command, extra):
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("OMP_", "GOMP_", "LD_PRELOAD"))}
        environment.update(extra)
        try:
            done = subprocess.run([str(part) for part in command], env=environment, capture_output=True, text=True, timeout=self.options.timeout)
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"took more than {self.options.timeout} s") from None
        if done.returncode:
            raise RuntimeError((done.stderr.strip() or "failed").splitlines()[-1])
        return json.loads(done.stdout.strip().splitlines()[-1]) if done.stdout.strip() else {}

    def epitaxy(self, command, *arguments):
        return self.run([self.options.program, command, self.folder, *arguments], {})

    def torch(self, *arguments):
        extra = {"OMP_NUM_THREADS": str(self.options.threads), "OMP_PROC_BIND": "true"}
        if self.tcmalloc and self.options.device == "cpu":
            extra["LD_PRELOAD"] = self.tcmalloc
        return self.run([self.options.python, HERE / "torch_twin.py", self.folder, *arguments], extra)


def check_losses(runner, precision, steps):
    """Losses of both and of fp64 from the same weights, without dropout and at a tenth of the learning rate; whether they agree up to rounding."""
    common = ["--device", runner.options.device, "--threads", runner.options.threads, "--losses", steps]
    ours = runner.epitaxy("train", *common, "--precision", precision)["losses"]
    theirs, exact = (runner.torch(*common, "--precision", one)["losses"] for one in (precision, "fp64"))
    our_error = their_error = used = 0.0
    for a, b, c in zip(ours, theirs, exact):
        scale = max(1.0, abs(c))
        our_error, their_error = max(our_error, abs(a - c) / scale), max(their_error, abs(b - c) / scale)
        used = max(used, our_error / (LOSS_FACTOR * their_error + LOSS_ROUNDING[precision]))
    return {"precision": precision, "steps": steps, "agree": len(ours) == len(theirs) == len(exact) == steps and used <= 1, "share_of_bound": used,
            "epitaxy_error": our_error, "torch_error": their_error, "epitaxy": ours, "torch": theirs, "fp64": exact}


def fastest(runner, common):
    tried = []
    for extra in candidates(runner.spec, runner.options.device, str(runner.options.threads)):
        try:
            tried.append((runner.torch(*common, "--seconds", min(2, runner.options.seconds), *extra)["samples_per_s"], extra))
        except RuntimeError as error:  # an option that this PyTorch or this memory lacks
            print(f"  PyTorch {' '.join(extra)}: {error}", file=sys.stderr)
    if not tried:
        raise RuntimeError("no configuration of PyTorch ran")
    return max(tried)[1], {" ".join(extra): rate for rate, extra in tried}


def compare(runner, check_runner, precision):
    options, spec = runner.options, runner.spec
    check_runner.epitaxy("prepare")
    runner.epitaxy("prepare")
    common = ["--precision", precision, "--device", options.device]
    checks = [check_losses(check_runner, precision, 20)] if options.check_losses == 0 or precision != "fp32" else []
    if options.check_losses:
        checks.append(check_losses(check_runner, "fp32", options.check_losses))
    best, tried = fastest(runner, common)
    turns = []
    telemetry = Telemetry(), Telemetry()
    for _ in range(options.turns):
        with telemetry[0]:
            a = runner.epitaxy("train", *common, "--threads", options.threads, "--seconds", options.seconds)
        with telemetry[1]:
            b = runner.torch(*common, "--seconds", options.seconds, *best)
        turns.append((a, b))
    rates = [[turn[side]["samples_per_s"] for turn in turns] for side in (0, 1)]
    ratios = [a / b for a, b in zip(*rates)]
    memory = [max(turn[side]["device_mib" if options.device != "cpu" else "host_peak_mib"] for turn in turns) for side in (0, 1)]
    return {
        "workload": spec["workload"], "precision": precision, "device": options.device, "size": options.size, "spec": spec, "turns": options.turns,
        "torch_options": " ".join(best), "torch_tried": tried, "tcmalloc": bool(runner.tcmalloc) and options.device == "cpu",
        "epitaxy_samples_per_s": rates[0], "torch_samples_per_s": rates[1],
        "epitaxy_median": statistics.median(rates[0]), "torch_median": statistics.median(rates[1]),
        "ratio": statistics.median(rates[0]) / statistics.median(rates[1]), "ratio_least": min(ratios), "ratio_most": max(ratios),
        "epitaxy_peak_mib": memory[0], "torch_peak_mib": memory[1], "epitaxy_planned_mib": turns[-1][0]["planned_mib"],
        "versions": {key: turns[0][1][key] for key in ("torch", "cudnn", "cuda", "gpu") if key in turns[0][1]}, "epitaxy_telemetry": telemetry[0].summary(),
        "torch_telemetry": telemetry[1].summary(),
        "losses_agree": all(check["agree"] for check in checks), "loss_checks": checks,
    }


def python_with_torch():
    for name in (sys.executable, "python3", "/usr/bin/python3"):
        if output_of(name, "-c", "import torch, numpy; print(1)"):
            return name
    return sys.executable


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", type=lambda name: pathlib.Path(name).resolve(), required=True, help="epitaxy_peer, built with -DEPITAXY_BENCH=ON")
    parser.add_argument("--python", default="", help="an interpreter that has torch; default: this one, python3 or /usr/bin/python3, the first that does")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--size", choices=("full", "small"), default="full", help="small: the same networks for a rehearsal")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6, help="timed seconds a turn")
    parser.add_argument("--timeout", type=float, default=300, help="seconds that one program may take")
    parser.add_argument("--only", nargs="*", help=f"workload/precision, or all; on a CPU {' '.join(ON_CPU)}, else {' '.join(ON_GPU)}")
    parser.add_argument("--check-losses", type=int, default=0, metavar="STEPS", help="also compare the losses of that many steps in strict fp32")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("peers.json"))
    options = parser.parse_args()
    options.python = options.python or python_with_torch()
    if options.only == ["all"]:
        options.only = [f"{name}/fp32" for name in WORKLOADS]

    only = options.only or (ON_GPU if options.device.startswith("cuda") else ON_CPU)
    report = {"machine": machine(), "results": []}
    if options.out.exists():  # what other calls have measured stays
        try:
            kept = json.loads(options.out.read_text())["results"]
        except (ValueError, TypeError, KeyError):
            sys.exit(f"{options.out} holds no results of this program; name another --out")
        report["results"] = [row for row in kept if f"{row['workload']}/{row['precision']}" not in only]
    failed = False
    print(f"{'':14} {'Epitaxy samples/s':>26} {'PyTorch samples/s':>26} {'ratio':>20}  memory, losses")
    for entry in only:
        workload, precision = entry.split("/")
        spec = specification(workload, options.size)
        with tempfile.TemporaryDirectory() as name, tempfile.TemporaryDirectory() as check_name:
            runner, check_runner = Runner(options, name, spec), Runner(options, check_name, specification(workload, options.size, check=True))
            try:
                row = compare(runner, check_runner, precision)
            except RuntimeError as error:
                print(f"{entry:14} failed: {error}", flush=True)
                row = {"workload": workload, "precision": precision, "error": str(error)}
        report["results"].append(row)
        options.out.write_text(json.dumps(report, indent=1) + "\n")
        failed |= not row.get("losses_agree", False)
        if "error" in row:
            continue
        spread = [f"{statistics.median(r):.5g} ({min(r):.4g}..{max(r):.4g})" for r in (row["epitaxy_samples_per_s"], row["torch_samples_per_s"])]
        print(f"{entry:14} {spread[0]:>26} {spread[1]:>26} {row['ratio']:6.2f} ({row['ratio_least']:.2f}..{row['ratio_most']:.2f})  "
              f"{row['epitaxy_peak_mib']:.0f} to {row['torch_peak_mib']:.0f} MiB, losses {'agree' if row['losses_agree'] else 'DISAGREE'}: off fp64 by "
              f"{row['loss_checks'][-1]['epitaxy_error']:.1e} to {row['loss_checks'][-1]['torch_error']:.1e}  [torch {row['torch_options']}]", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
