"""The names of llama.cpp's backends, as this project writes them."""

from __future__ import annotations

from typing import Literal

Backend = Literal["cpu", "cuda", "metal", "vulkan", "rocm", "opencl", "hexagon", "sycl"]
