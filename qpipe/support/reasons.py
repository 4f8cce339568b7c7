"""Why another library's exception was raised, in one line."""

from __future__ import annotations


def reason(error: BaseException) -> str:
    """Its words. pydantic's first line only counts what is wrong: field and reason of each
    instead."""
    listed = getattr(error, "errors", None)
    if type(error).__name__ == "ValidationError" and callable(listed):
        return "; ".join(
            f"{'.'.join(map(str, item['loc'])) or error.title}: {item['msg']}"  # type: ignore[attr-defined]
            for item in listed()
        )
    return str(error)
