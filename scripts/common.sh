# Shared by the scripts: where the project is, how many jobs fit, what must be installed. Sourced, not run.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

say() { printf '%s\n' "$*"; }
die() {
  printf '%s: %s\n' "$(basename "$0")" "$*" >&2
  exit 2
}

# The comment at the head of the calling script is its help.
show_help() {
  sed -n '2,/^[^#]/{s/^# \{0,1\}//p}' "$0" | sed '/^set /d'
  exit 0
}

# One job a core, but none without 1.5 GiB of free memory for its compiler.
job_count() {
  local cores memory
  cores=$(nproc)
  memory=$(awk '/^MemAvailable/ {print int($2 / 1572864)}' /proc/meminfo)
  if ((memory < 1)); then memory=1; fi
  if ((memory < cores)); then say "$memory"; else say "$cores"; fi
}

have_gpu() { command -v nvidia-smi >/dev/null && nvidia-smi --query-gpu=name --format=csv,noheader >/dev/null 2>&1; }

build_packages=(g++ cmake ninja-build ccache libgtest-dev libbenchmark-dev libboost-context-dev libdnnl-dev libpng-dev libjpeg-dev
  libtiff-dev zlib1g-dev libyaml-cpp-dev libcli11-dev nlohmann-json3-dev)
tool_packages=(clang-format clang-tidy)

# install_packages NAME...: installs by apt those that are missing, after saying which.
install_packages() {
  local package missing=()
  if ! command -v dpkg-query >/dev/null; then
    say "Not a Debian system: nothing is installed for you. The packages wanted are, by their Debian names: $*"
    return 0
  fi
  for package in "$@"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
  done
  if ((${#missing[@]} == 0)); then return 0; fi
  say "Missing packages, installed now by apt: ${missing[*]}"
  local as_root=()
  if ((EUID != 0)); then
    command -v sudo >/dev/null || die "run as root or install them yourself: apt-get install ${missing[*]}"
    as_root=(sudo)
  fi
  local install=(env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}")
  if ! "${as_root[@]}" "${install[@]}" >"${TMPDIR:-/tmp}/epitaxy-apt.log" 2>&1; then
    "${as_root[@]}" apt-get update -q >>"${TMPDIR:-/tmp}/epitaxy-apt.log" 2>&1 || true
    "${as_root[@]}" "${install[@]}" >>"${TMPDIR:-/tmp}/epitaxy-apt.log" 2>&1 || {
      tail -n 5 "${TMPDIR:-/tmp}/epitaxy-apt.log" >&2
      die "apt could not install: ${missing[*]}"
    }
  fi
}
