"""What the tests of this folder share."""

from collections.abc import Callable, Mapping

import taesr

# Makes a collection of files, by name and text.
MakeCollection = Callable[[Mapping[str, str]], taesr.Collection]
