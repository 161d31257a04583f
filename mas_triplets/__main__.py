"""The command `mas-triplets`, and `python -m mas_triplets`."""

from __future__ import annotations

from typing import NoReturn


def main() -> NoReturn:
    """Run the command line."""
    from mas_triplets.launch import become_launcher, launched_alone

    if (processes := launched_alone()) > 1:
        become_launcher(processes)
    from mas_triplets.cli import app
    from mas_triplets.console import run

    run(app)


if __name__ == "__main__":
    main()
