"""Where and how precisely to compute: device, precision, memory format. CUDA, MPS and CPU."""

from __future__ import annotations

import contextlib
import platform
from dataclasses import dataclass

import torch

from engine.errors import ConfigError


@dataclass(frozen=True)
class Compute:
    """A resolved choice: what "auto" became on this machine."""

    device: torch.device
    precision: str  # fp32, bf16 or fp16

    @property
    def memory_format(self) -> torch.memory_format:
        """channels_last where the kernels are written for it."""
        fp32_kernels = self.device.type == "cpu" and has_onednn()
        fits = self.precision != "fp32" or fp32_kernels
        return torch.channels_last if fits else torch.contiguous_format

    def autocast(self) -> contextlib.AbstractContextManager:
        """The context that forward passes run in."""
        if self.precision == "fp32":
            return contextlib.nullcontext()
        dtype = torch.bfloat16 if self.precision == "bf16" else torch.float16
        return torch.autocast(self.device.type, dtype=dtype)

    def grad_scaler(self) -> torch.amp.GradScaler:
        """Scales the loss in fp16, whose gradients underflow; passes through otherwise."""
        return torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")

    def describe(self) -> dict[str, str | int]:
        """What a run records of the machine, so that its figures can be read later."""
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
    """Turn the two settings into a device and precision that exist here, or raise ConfigError."""
    chosen = _device(device)
    if precision == "auto":
        precision = fastest_precision(chosen)
    return Compute(chosen, precision)


def all_of(device: torch.device) -> tuple[str, ...]:
    """Every device of this one's kind on this machine, in order: cuda:0, cuda:1 …, or cpu."""
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
            raise ConfigError("device", f"{name} is not here ({count} CUDA devices); use cpu")
        return torch.device("cuda", device.index or 0)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("device", "mps is not available on this machine; use cpu")
    return torch.device(device.type)


def has_onednn() -> bool:
    """Whether this CPU's convolutions and matrix products are oneDNN's and MKL's."""
    return torch.backends.mkldnn.is_available() and torch.backends.mkl.is_available()


def has_amx() -> bool:
    """Whether this CPU multiplies tiles of bf16 matrices in one instruction."""
    return bool(torch.cpu.get_capabilities().get("amx_bf16"))


def set_cudnn_deterministic(enabled: bool) -> None:
    """Whether cuDNN may only choose algorithms that give the same bits each time.

    For the whole process. Without effect where there is no CUDA.
    """
    torch.backends.cudnn.deterministic = enabled


def fastest_precision(device: torch.device) -> str:
    """What "auto" becomes: bf16 or fp16 where the hardware has it, otherwise fp32."""
    if device.type == "cuda":
        # Of this device: torch.cuda.is_bf16_supported tells of the current one.
        ampere = torch.version.hip or torch.cuda.get_device_capability(device)[0] >= 8
        return "bf16" if ampere else "fp16"
    if device.type == "cpu":
        # Without these instructions bf16 is emulated, several times slower than fp32.
        has_dot_products = torch.cpu.get_capabilities().get("avx512_bf16")
        return "bf16" if has_amx() or has_dot_products else "fp32"
    return "fp32"
