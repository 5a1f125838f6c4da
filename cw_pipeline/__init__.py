"""Keeps a Postgres warehouse in step with a ConnectWise PSA tenant, and proves it.

    from cw_pipeline import Pipeline

    with Pipeline() as pipeline:
        for result in pipeline.sync("service/tickets"):
            print(result.entity, result.rows_read, result.failure)

`Pipeline` is explained in `pipeline.py`, the parts of the package in `README.md` beside this file.
"""

# `python3 -m cw_pipeline` imports this file on a Python that may be old and has nothing installed,
# before `_bootstrap` can say so: nothing may be imported here before somebody asks for it.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from cw_pipeline.pipeline import Pipeline as Pipeline
    from cw_pipeline.settings import Settings as Settings

__all__ = ["Pipeline", "Settings"]

_MODULES = {"Pipeline": "pipeline", "Settings": "settings"}


def __getattr__(name):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202 - for old Pythons
    if name not in _MODULES:
        raise AttributeError("module %r has no attribute %r" % (__name__, name))  # noqa: UP031
    from importlib import import_module  # noqa: PLC0415

    return getattr(import_module("%s.%s" % (__name__, _MODULES[name])), name)  # noqa: UP031
