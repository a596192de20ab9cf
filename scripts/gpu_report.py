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


def print_operations(rows):
    """A line an operation; where a peer was timed beside ours (".../epitaxy/...", ".../cudnn/..."), both and their ratio."""
    times = {row["name"]: row.get("microseconds") for row in rows}
    for row in rows:
        name = row["name"]
        if "/cudnn" in name and name.replace("/cudnn", "/epitaxy") in times:
            continue
        if "error" in row:
            line = row["error"]
        else:
            line = f"{row['microseconds']:10.1f} us"
            peer = times.get(name.replace("/epitaxy", "/cudnn")) if "/epitaxy" in name else None
            if peer:
                line += f"  cuDNN {peer:10.1f} us  speed {peer / row['microseconds']:.2f}"
            for key, unit, scale in (("flop/s", "TFLOP/s", 1e-12), ("GB/s", "GB/s", 1), ("of_copy", "of copy", 1)):
                if key in row:
                    line += f"  {row[key] * scale:.3g} {unit}"
        print(f"  {name.replace('/epitaxy', '').replace('/manual_time', '').replace('/real_time', '')[:60]:60} {line}")


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
    print_operations(report["operations"])
    for row in report.get("models", []):
        print(f"  {row['workload']}/{row['precision']:6} {row['epitaxy_median']:10.0f} samples/s, PyTorch {row['torch_median']:10.0f}: ratio {row['ratio']:.2f} "
              f"({row['ratio_least']:.2f}..{row['ratio_most']:.2f}), losses {'agree' if row['losses_agree'] else 'DISAGREE'}")
    print(f"all of it: {arguments.out}")


if __name__ == "__main__":
    main()
