"""llama.cpp on this device, behind a process border.

A failed assertion inside the engine ends the whole process, and a model too large wakes the kernel's
out-of-memory killer. So the engine lives in a worker: `client.Engine` starts it and asks, `worker` answers,
and a crash arrives as an `EngineFailure` with the engine's last words. `protocol` holds what crosses the
border; `binding` is the only package that touches llama_cpp, and only the worker imports it.

A new question to the engine is one request and one reply in `protocol`, one module in `binding` and one
method of `Engine`.
"""
