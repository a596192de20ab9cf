#!/usr/bin/env python3
"""PyTorch's side of the comparison: the workload of a folder that `epitaxy_peer prepare` has filled, one JSON line. torch 1.13 and later.

Same network, initial weights, batches, optimizer and input path: every batch starts in the host's memory (pinned, for a GPU), 16-bit images
as such, and is converted on the device. TF32 is used where the precision says tf32 (and for bf16), nowhere else. fp64 tells the true losses.
"""
import argparse
import contextlib
import json
import pathlib
import resource
import statistics
import time

import numpy as np
import torch
from torch.nn import functional as F

from torch_network import Network, parameter_groups

LOSSES = {"softmax_cross_entropy": F.cross_entropy, "mean_squared_error": F.mse_loss}


def batches_of(spec, folder, pinned):
    dtype = {"fp32": np.float32, "uint16": np.int16}[spec["dtype"]]  # uint16 values below 2^15 are the same bytes as int16
    inputs = torch.from_numpy(np.fromfile(folder / "inputs.raw", dtype).reshape(-1, spec["batch"], *spec["input"]))
    classes = spec["loss"] == "softmax_cross_entropy"
    targets = np.fromfile(folder / "targets.raw", np.int32 if classes else np.float32)
    targets = torch.from_numpy(targets.reshape(len(inputs), spec["batch"], *([-1] if not classes else []), *(spec["input"][:2] if spec["pixels"] else [])))
    result = []
    for x, y in zip(inputs, targets):
        if x.dim() == 4:
            x = x.permute(0, 3, 1, 2)  # as it lies: channels last
        result.append((x.pin_memory(), y.pin_memory()) if pinned else (x, y))
    return result


def make_optimizer(spec, network, options, cuda):
    groups = parameter_groups(network, spec.get("weight_decay", 0.0))
    arguments = {"lr": spec["learning_rate"] * (0.1 if options.losses else 1.0)}
    kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[spec["optimizer"]]
    if spec["optimizer"] == "sgd":
        arguments["momentum"] = spec.get("momentum", 0.0)
    elif options.graph:
        arguments["capturable"] = True
    if cuda:
        with contextlib.suppress(TypeError, RuntimeError):
            return kind(groups, fused=True, **arguments)
    return kind(groups, **arguments, **({"foreach": True} if options.foreach or cuda else {}))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--precision", choices=("fp64", "fp32", "tf32", "bf16"), default="fp32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--warmup", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--losses", type=int, default=0, help="print the first losses, without dropout and at a tenth of the learning rate, instead of timing")
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--foreach", action="store_true", help="CPU: the optimizer over all arrays at once")
    parser.add_argument("--trace", action="store_true", help="forward pass by torch.jit.trace")
    parser.add_argument("--compile", nargs="?", const="max-autotune", default="", help="torch.compile with this mode (torch 2)")
    parser.add_argument("--graph", action="store_true", help="the whole step as one CUDA graph")
    options = parser.parse_args()

    spec = json.loads((options.folder / "spec.json").read_text())
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    cuda = options.device.startswith("cuda")
    kind = "cuda" if cuda else "cpu"
    if cuda:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = options.precision not in ("fp32", "fp64")
        torch.backends.cudnn.benchmark = True
        free_before = torch.cuda.mem_get_info()[0]
    memory_format = torch.channels_last if options.channels_last else torch.contiguous_format
    working = torch.float64 if options.precision == "fp64" else torch.float32
    network = Network(options.folder, dropout=not options.losses).to(options.device, working, memory_format=memory_format).train()
    batches = batches_of(spec, options.folder, cuda)
    optimizer = make_optimizer(spec, network, options, cuda)
    criterion = LOSSES[spec["loss"]]
    low = options.precision == "bf16"

    def on_device(x, y):
        return x.to(options.device, non_blocking=True), y.to(options.device, non_blocking=True)

    def converted(x, y):
        if "mean" in spec:
            x = (x.to(working) - spec["mean"]) * spec["scale"]
        if x.dim() == 4:
            x = x.contiguous(memory_format=memory_format)
        return x.to(working), (y.long() if y.dtype == torch.int32 else y.to(working))

    forward = network
    if options.trace:
        with torch.autocast(kind, torch.bfloat16, enabled=low, cache_enabled=False):
            forward = torch.jit.trace(network, converted(*on_device(*batches[0]))[0], check_trace=False)

    def loss_of(x, y):
        x, y = converted(x, y)
        with torch.autocast(kind, torch.bfloat16, enabled=low):
            output = forward(x)
        return criterion(output.to(working), y)

    if options.compile:
        loss_of = torch.compile(loss_of, mode=options.compile)

    def step(x, y):
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(x, y)
        loss.backward()
        optimizer.step()
        return loss

    def run_step(x, y):
        if options.compile and hasattr(torch, "compiler"):
            torch.compiler.cudagraph_mark_step_begin()
        return step(*on_device(x, y))

    if options.graph:
        still = on_device(*batches[0])
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                step(*still)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            loss = step(*still)

        def replay(x, y):
            still[0].copy_(x, non_blocking=True)
            still[1].copy_(y, non_blocking=True)
            graph.replay()
            return loss

    run = replay if options.graph else run_step
    count, losses, times = 0, [], []

    def turn(steps):
        """Seconds of steps that are queued one behind the other."""
        nonlocal count
        begin = time.perf_counter()
        for _ in range(steps):
            last = run(*batches[count % len(batches)])
            count += 1
        if cuda:
            torch.cuda.synchronize()
        return time.perf_counter() - begin, last

    report = {"batch": spec["batch"], "precision": options.precision, "torch": torch.__version__, "threads": torch.get_num_threads(), "losses": losses}
    if cuda:
        report.update(cudnn=torch.backends.cudnn.version(), cuda=torch.version.cuda, gpu=torch.cuda.get_device_name())
    if options.losses:
        losses.extend(float(turn(1)[1].detach()) for _ in range(options.losses))
    else:
        turn(options.warmup)
        each = turn(2)[0] / 2
        steps = max(1, min(200, int(0.1 / each))) if cuda else 1
        begin = time.perf_counter()
        while time.perf_counter() - begin < options.seconds or len(times) < 3:
            times.append(turn(steps)[0] / steps)
        times.sort()
        median = statistics.median(times)
        report.update(steps=len(times) * steps, step_ms=1e3 * median, p10_ms=1e3 * times[len(times) // 10], p90_ms=1e3 * times[len(times) * 9 // 10],
                      samples_per_s=spec["batch"] / median)
    report["host_peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if cuda:
        report["device_mib"] = (free_before - torch.cuda.mem_get_info()[0]) / 2**20
        report["allocated_mib"] = torch.cuda.max_memory_allocated() / 2**20
    print(json.dumps(report))


if __name__ == "__main__":
    main()
