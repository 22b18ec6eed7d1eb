"""Metadata filters as the store compares them."""

import json
from collections.abc import Mapping

from taesr.document import Scalar


def to_filter(values: Mapping[str, Scalar] | None) -> dict[str, str]:
    """Metadata values compare as the text that JSON writes for them; strings as they are."""
    return {
        key: value if isinstance(value, str) else json.dumps(value) for key, value in (values or {}).items()
    }
