"""What holds for the sections of every loaded document."""

import itertools

from taesr.document import Document


def check_sections(document: Document) -> None:
    """Sections are in order, cover the text, and cut no character."""
    data = document.text.encode()
    if not document.sections:
        return
    assert document.sections[0].begin == 0
    assert document.sections[-1].end == len(data)
    for section, following in itertools.pairwise(document.sections):
        assert section.end == following.begin
    for section in document.sections:
        assert data[section.begin : section.end].decode().strip()
