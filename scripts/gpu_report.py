#!/usr/bin/env python3
# Gathers what scripts/gpu-check produced into one JSON file and prints a short table: machine, tests, operations, whole models.
import argparse
import json
import pathlib
import shutil
import subprocess


def output_of(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def machine():
    report = {"gpu": output_of("nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader") or "none"}
    nvcc = shutil.which("nvcc") or "/usr/local/cuda/bin/nvcc"
    lines = output_of(nvcc, "--version").splitlines()
    report["nvcc"] = lines[-1] if lines else "not found"
    report["torch"] = output_of("python3", "-c", "import torch; print(torch.__version__)") or "not found"
    return report


def operations(folder):
    rows = []
    for path in sorted(folder.glob("*.json")):
        try:
            benchmarks = json.loads(path.read_text())["benchmarks"]
        except (ValueError, KeyError):
            continue  # gpu-check has said that this program failed
        for one in benchmarks:
            if one.get("error_occurred"):
                rows.append({"name": one["name"], "error": one.get("error_message", "failed")})
                continue
            scale = {"ns": 1e-3, "us": 1.0, "ms": 1e3, "s": 1e6}[one["time_unit"]]
            known = {"name", "run_name", "run_type", "time_unit", "aggregate_name", "family_index", "per_family_instance_index",
                     "repetitions", "repetition_index", "threads", "iterations", "real_time", "cpu_time"}
            row = {"name": one["name"], "microseconds": one["real_time"] * scale}
            row.update({key: value for key, value in one.items() if key not in known and isinstance(value, (int, float))})
            rows.append(row)
    return rows


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", type=pathlib.Path, required=True)
    parser.add_argument("--counts", required=True)
    parser.add_argument("--seconds", required=True, help="build,tests,benches")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    arguments = parser.parse_args()

    seconds = dict(zip(("build", "tests", "benches"), map(int, arguments.seconds.split(","))))
    report = {"machine": machine(), "tests": arguments.counts, "seconds": seconds, "operations": operations(arguments.build / "bench")}
    peers = arguments.build / "peers.json"
    if peers.exists():
        report["models"] = json.loads(peers.read_text())
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(report, indent=1) + "\n")

    print()
    print(f"GPU    {report['machine']['gpu']}; {report['machine']['nvcc']}; PyTorch {report['machine']['torch']}")
    print(f"tests  {report['tests'] or 'did not finish'}")
    print("took   " + ", ".join(f"{name} {value} s" for name, value in seconds.items()))
    for row in report["operations"]:
        extra = "  ".join(f"{key} {value:.4g}" for key, value in row.items() if key not in ("name", "microseconds", "error"))
        print(f"  {row['name'][:70]:70} " + (row["error"] if "error" in row else f"{row['microseconds']:10.1f} us  {extra}"))
    print(f"all of it: {arguments.out}")


if __name__ == "__main__":
    main()
