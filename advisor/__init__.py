"""The decision: which model, at which quantization, with which settings, on this device."""
