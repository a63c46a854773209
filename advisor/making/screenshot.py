"""`make screenshot`: the README's picture, drawn from what the command really prints."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

IMAGE = Path(__file__).parents[2] / "docs" / "images" / "recommend.svg"
ARGUMENTS = (
    "recommend",
    "--device",
    "Raspberry Pi 5 8GB",
    "--task",
    "chat",
    "--language",
    "ja",
    "--top",
    "6",
)


def main() -> None:
    from rich.console import Console
    from rich.text import Text

    program = shutil.which("slm-advisor", path=str(Path(sys.executable).parent)) or "slm-advisor"
    shown = subprocess.run([program, *ARGUMENTS], capture_output=True, text=True, check=True).stdout
    typed = " ".join(f"'{part}'" if " " in part else part for part in ARGUMENTS)
    with Path("/dev/null").open("w") as sink:
        console = Console(record=True, width=80, file=sink)
        console.print(Text(f"$ slm-advisor {typed}", style="bold"))
        console.print(Text(shown.rstrip()))
    IMAGE.parent.mkdir(parents=True, exist_ok=True)
    console.save_svg(str(IMAGE), title="slm-advisor")
    print(f"wrote {IMAGE}")


if __name__ == "__main__":
    main()
