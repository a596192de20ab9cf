#!/usr/bin/env python3
# Gathers what scripts/gpu-check produced into one JSON file and prints tables: machine, tests, operations, whole models.
import argparse
import json
import math
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "bench" / "peers"))
from telemetry import machine  # noqa: E402


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
            if "each" in row:  # one of several that were timed together
                row["microseconds"] = row.pop("each") * 1e6
            if one.get("label"):
                row["variant"] = one["label"]
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
        print(f"  {name.replace('/epitaxy', '').replace('/manual_time', '').replace('/real_time', '').replace('/min_time:0.100', '')[:70]:70} {line}")


def speeds(rows):
    """How many times cuDNN's speed, geometric mean over layers, for each pass and arithmetic and kind of layer."""
    times = {row["name"]: row.get("microseconds") for row in rows}
    groups = {}
    for row in rows:
        peer = times.get(row["name"].replace("/epitaxy", "/cudnn")) if "/epitaxy" in row["name"] else None
        if not peer or not row.get("microseconds"):
            continue
        _, kind, arithmetic, _ = row["name"].split("/", 3)
        ratio = math.log(peer / row["microseconds"])
        few = row["C"] <= 128 and row["K"] <= 128
        for name in ("all", *(["C,K <= 128"] if few else []), *(["C = 1"] if row["C"] == 1 else [])):
            for pass_name in (kind, *(["every plain pass"] if not kind.startswith("forward_") else [])):
                groups.setdefault((arithmetic, pass_name, name), []).append(ratio)
    return [{"arithmetic": a, "pass": p, "layers": n, "count": len(r), "speed": math.exp(sum(r) / len(r))} for (a, p, n), r in sorted(groups.items())]


def print_models(rows):
    for row in rows:
        name = f"{row['workload']}/{row['precision']}"
        if "error" in row:
            print(f"  {name:14} {row['error']}")
            continue
        check = row["loss_checks"][-1]
        print(f"  {name:14} {row['epitaxy_median']:10.5g} samples/s, PyTorch {row['torch_median']:10.5g}: ratio {row['ratio']:.2f} "
              f"({row['ratio_least']:.2f}..{row['ratio_most']:.2f}), memory {row['epitaxy_peak_mib']:.0f} to {row['torch_peak_mib']:.0f} MiB, losses "
              f"{'agree' if row['losses_agree'] else 'DISAGREE'} ({check['steps']} steps {check['precision']}: off fp64 by "
              f"{check['epitaxy_error']:.1e} to {check['torch_error']:.1e})  [torch {row['torch_options']}]")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    arguments = parser.parse_args()

    bench, log, peers = arguments.build / "bench", arguments.build / "tests.log", arguments.build / "peers.json"
    counts = re.findall(r"^\d+ passed, \d+ failed, \d+ skipped$", log.read_text(errors="replace"), re.MULTILINE) if log.exists() else []
    seconds = {path.stem: int(path.read_text()) for path in sorted(bench.glob("*.seconds"))}
    report = {"machine": machine(), "tests": counts[-1] if counts else "", "seconds": seconds, "operations": operations(bench)}
    report["speeds"] = speeds(report["operations"])
    if peers.exists():
        report["models"] = json.loads(peers.read_text())["results"]
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(report, indent=1) + "\n")

    print()
    versions = next((row["versions"] for row in report.get("models", []) if row.get("versions")), {})
    print(f"GPU    {report['machine']['gpu']}; {report['machine']['processor']}; {report['machine']['nvcc']}; "
          f"PyTorch {versions.get('torch', 'not run')}, cuDNN {versions.get('cudnn', 'not run')}")
    print(f"tests  {report['tests'] or 'did not finish'}")
    print("took   " + ", ".join(f"{name} {value} s" for name, value in seconds.items()))
    print_operations(report["operations"])
    for row in report["speeds"]:
        print(f"  {row['speed']:5.2f} times cuDNN: {row['arithmetic']}, {row['pass']}, {row['layers']} ({row['count']} layers, geometric mean)")
    print_models(report.get("models", []))
    print(f"all of it: {arguments.out}")


if __name__ == "__main__":
    main()
