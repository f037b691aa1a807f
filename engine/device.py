"""Device, precision and memory format of the computation, on CUDA, MPS or a CPU."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from engine.errors import ConfigError


@dataclass(frozen=True)
class Compute:
    """Device and precision of a run, with "auto" resolved for this machine."""

    device: torch.device
    precision: str  # fp32, bf16 or fp16

    @property
    def memory_format(self) -> torch.memory_format:
        """channels_last where the convolution kernels are faster with it, else contiguous."""
        fp32_kernels = self.device.type == "cpu" and has_onednn()
        fits = self.precision != "fp32" or fp32_kernels
        return torch.channels_last if fits else torch.contiguous_format

    def autocast(self) -> contextlib.AbstractContextManager:
        """Autocast context for forward passes; a null context in fp32."""
        if self.precision == "fp32":
            return contextlib.nullcontext()
        dtype = torch.bfloat16 if self.precision == "bf16" else torch.float16
        return torch.autocast(self.device.type, dtype=dtype)

    def grad_scaler(self) -> torch.amp.GradScaler:
        """Loss scaling for fp16, whose small gradients underflow; disabled otherwise."""
        return torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")

    def describe(self) -> dict[str, str | int]:
        """Description of the machine, recorded with a run's results."""
        if self.device.type == "cuda":
            name = torch.cuda.get_device_name(self.device)
        else:
            name = torch.cpu.get_capabilities().get("cpu_name") or platform.machine()
        return {
            "device": str(self.device),
            "device_name": name,
            "precision": self.precision,
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "platform": platform.platform(),
        }


def resolve(device: str = "auto", precision: str = "auto") -> Compute:
    """Resolve the settings `device` and `precision` on this machine.

    device: auto, cpu, mps, cuda or cuda:N; precision: auto, fp32, bf16 or fp16. Raises ConfigError
    for an unknown or unavailable device.
    """
    chosen = _device(device)
    if precision == "auto":
        precision = fastest_precision(chosen)
    return Compute(chosen, precision)


def all_of(device: torch.device) -> tuple[str, ...]:
    """Names of all CUDA devices if `device` is one, cuda:0, cuda:1 …; otherwise its own name."""
    if device.type != "cuda":
        return (str(device),)
    return tuple(f"cuda:{index}" for index in range(torch.cuda.device_count()))


def _device(name: str) -> torch.device:
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda:0")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda", "mps"):
        raise ConfigError("device", f"unknown device {name!r}; use auto, cpu, mps, cuda or cuda:N")
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise ConfigError("device", f"{name} is not available ({count} CUDA devices); use cpu")
        return torch.device("cuda", device.index or 0)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("device", "mps is not available on this machine; use cpu")
    return torch.device(device.type)


@contextlib.contextmanager
def threads(count: int | None) -> Iterator[int]:
    """Context in which kernels use `count` threads; yields the usual number.

    The number decides how sums are split, and so the last bits of results. None, or more than the
    machine has cores: the usual number.
    """
    before = torch.get_num_threads()
    fits = type(count) is int and 0 < count <= (os.cpu_count() or 1)
    torch.set_num_threads(count if fits else before)
    try:
        yield before
    finally:
        torch.set_num_threads(before)


def machine_change(before: dict[str, Any], now: dict[str, Any]) -> str:
    """A sentence if a resumed run, by Compute.describe, may not repeat the bits; else empty."""
    keys = ["device_name", "precision", "torch", *(["threads"] if now["device"] == "cpu" else [])]
    found = [f"{k} {now[k]} (was {before[k]})" for k in keys if before.get(k, now[k]) != now[k]]
    changed = ", ".join(found).replace("_", " ")
    return f"the run continues with {changed}: results may differ in the last bits" if found else ""


def has_onednn() -> bool:
    """Whether PyTorch uses oneDNN for convolutions and MKL for matrix products, as on x86."""
    return torch.backends.mkldnn.is_available() and torch.backends.mkl.is_available()


def has_amx() -> bool:
    """Whether this CPU has AMX-BF16, which multiplies tiles of bf16 matrices."""
    return bool(torch.cpu.get_capabilities().get("amx_bf16"))


def set_cudnn_deterministic(enabled: bool) -> None:
    """Whether to restrict cuDNN to deterministic algorithms, in the whole process."""
    torch.backends.cudnn.deterministic = enabled


def memory_bytes(device: torch.device) -> int | None:
    """Total memory of a device, in bytes; None if the platform does not report it."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[1]
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # Windows
        return None


def fastest_precision(device: torch.device) -> str:
    """Precision for "auto": bf16 or fp16 if the hardware supports it, else fp32."""
    if device.type == "cuda":
        # torch.cuda.is_bf16_supported checks the current device, not this one.
        ampere = torch.version.hip or torch.cuda.get_device_capability(device)[0] >= 8
        return "bf16" if ampere else "fp16"
    if device.type == "cpu":
        # Without AMX or AVX512-BF16, bf16 is emulated and several times slower than fp32.
        has_dot_products = torch.cpu.get_capabilities().get("avx512_bf16")
        return "bf16" if has_amx() or has_dot_products else "fp32"
    return "fp32"
