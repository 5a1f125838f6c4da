"""`python3 -m cw_pipeline …`: sets the project up where it must, then runs the command.

Like `_bootstrap`, this file runs on Pythons too old for the rest, to be able to say so.
"""

import sys

from cw_pipeline import _bootstrap


def main() -> int:
    """Runs the command line. Returns its exit code."""
    missing = _bootstrap.missing_requirements(sys.argv[1:])
    if missing:
        return _bootstrap.rerun(sys.argv[1:], missing)
    _bootstrap.prepare_children()
    from cw_pipeline.cli import run_process  # noqa: PLC0415 - needs what may not be installed yet

    return int(run_process() or 0)


if __name__ == "__main__":
    sys.exit(main())
