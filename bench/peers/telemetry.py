"""Clocks, power and temperature of the GPU while something runs, and the versions a comparison was made with. Empty without nvidia-smi."""
import platform
import shutil
import statistics
import subprocess
import threading

FIELDS = {"sm_mhz": "clocks.sm", "memory_mhz": "clocks.mem", "watts": "power.draw", "celsius": "temperature.gpu"}


def output_of(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


class Telemetry:
    """t = Telemetry(); with t: ..., as often as wanted; then t.summary() has the median, least and most of each field."""

    def __init__(self):
        self.rows, self.process = [], None

    def __enter__(self):
        if shutil.which("nvidia-smi"):
            self.process = subprocess.Popen(["nvidia-smi", "--query-gpu=" + ",".join(FIELDS.values()), "--format=csv,noheader,nounits", "-lms", "200"],
                                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            self.reader = threading.Thread(target=self.read, daemon=True)
            self.reader.start()
        return self

    def read(self):
        for line in self.process.stdout:
            parts = [part.strip() for part in line.split(",")]
            try:
                self.rows.append([float(part) for part in parts])
            except ValueError:
                continue  # a field this GPU does not tell

    def __exit__(self, *_):
        if self.process:
            self.process.terminate()
            self.process.wait()
            self.reader.join()

    def summary(self):
        columns = zip(*self.rows) if self.rows else ()
        return {name: {"median": statistics.median(c), "least": min(c), "most": max(c)} for name, c in zip(FIELDS, columns)}


def machine():
    processor = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo", encoding="utf-8") if line.startswith("model name")), platform.machine())
    gpu = output_of("nvidia-smi", "--query-gpu=name,driver_version,memory.total,power.limit,clocks.max.sm", "--format=csv,noheader")
    nvcc = output_of(shutil.which("nvcc") or "/usr/local/cuda/bin/nvcc", "--version").splitlines()
    return {"gpu": gpu or "none", "nvcc": nvcc[-1] if nvcc else "not found", "processor": processor}
