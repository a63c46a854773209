"""llama.cpp on this device, behind a process border.

A failed assertion inside the engine ends the whole process, and a model too large wakes the kernel's
out-of-memory killer. So the engine lives in a worker: `client.Engine` starts it and asks, `worker` answers,
and a crash arrives as an `EngineFailure` with the engine's last words. `protocol` holds what crosses the
border; `binding` is the only package that touches llama_cpp, and only the worker imports it.

Some questions stand alone: which engine, what a quantization would give, what a context would take. To run a
model is a sequence of them: `load_model`, `open_context`, then `run_test` as often as wanted; the model and the
context stay in the worker until they are replaced or it ends. After a crash, a time-out or `close` the next
question starts a new worker, which has nothing loaded.

`binding` has a module for each kind of question; `session` keeps what is loaded, `timing` follows llama-bench,
`chat` writes text a few tokens at a time,
`reasons` puts the engine's refusals into words.

A new question to the engine is one request and one reply in `protocol`, one module in `binding` and one
method of `Engine`.
"""
