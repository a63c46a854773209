"""A config.json, read key by key: numbers that are numbers, and rotary settings wherever they stand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quantize.errors import InvalidModelError, UnknownArchitectureError

Config = Mapping[str, Any]


class ConfigReader:
    """A config.json with numbers that are numbers; a key that is null counts as missing."""

    def __init__(self, config: Config) -> None:
        self._config = config

    def plain(self, key: str) -> Any:
        return self._config.get(key)

    def number(self, key: str, default: int | None = None, *, most: int = 1 << 32) -> int:
        value = self._config.get(key)
        if value is None:
            value = default
        blocks = self._config.get("num_hidden_layers")
        if isinstance(value, list) and len(value) == blocks and all(item == value[0] for item in value):
            value = value[0]  # one number for each block, all the same
        if value is None:
            raise InvalidModelError(f"config.json: {key} is missing")
        least = 0 if default is not None else 1
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise InvalidModelError(f"config.json: {key} is {value!r} and not a usable number")
        return value

    def first(self, names: tuple[str, ...], default: int | None = None) -> int:
        """The first of several names for one thing."""
        found = next((name for name in names if self._config.get(name) is not None), names[0])
        return self.number(found, default)

    def fraction(self, key: str, default: float, *, most: float = 1.0) -> float:
        """A positive number, also in rope_parameters."""
        rope = self._rope()
        value = self._config.get(key)
        if value is None:
            value = rope.get(key)
        if value is None:
            return default
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 < value <= most:
            raise InvalidModelError(f"config.json: {key} is {value!r} and not a usable number")
        return value

    def flag(self, key: str, default: bool) -> bool:
        value = self._config.get(key)
        return default if value is None else bool(value)

    def rope_type(self) -> str:
        rope = self._rope()
        return str(rope.get("rope_type", rope.get("type", "default")))

    def _rope(self) -> Mapping[str, Any]:
        """Rotary settings: rope_parameters since transformers 5, rope_scaling before."""
        found = self._config.get("rope_parameters") or self._config.get("rope_scaling")
        return found if isinstance(found, Mapping) else {}

    def layer_types(self, n_layer: int) -> str | None:
        """The pattern that layer_types spells out; None where config.json has none."""
        listed = self._config.get("layer_types") or self._config.get("layers_block_type")
        if listed is None:
            return None
        if not isinstance(listed, list) or len(listed) != n_layer:
            raise InvalidModelError(f"config.json: layer_types does not name {n_layer} blocks")
        if unknown := {str(kind) for kind in listed} - _LAYER_TYPES.keys():
            raise UnknownArchitectureError(f"config.json: unknown layer_types {', '.join(sorted(unknown))}")
        return "".join(_LAYER_TYPES[kind] for kind in listed)


_LAYER_TYPES = {
    "full_attention": "a",
    "attention": "a",
    "sliding_attention": "s",
    "window_attention": "s",
    "linear_attention": "d",
    "mamba": "m",
    "conv": "c",
    "moe": "f",
    "mlp": "f",
}
