"""Writes small PDF files byte by byte, well-formed and otherwise."""

import io
import zlib
from collections.abc import Sequence

from pypdf import PdfReader, PdfWriter


def pdf(
    pages: Sequence[str | bytes],
    *,
    outline: Sequence[tuple[str, int]] = (),
    title: str = "",
    filters: str = "",
) -> bytes:
    """A PDF with one text line for each line of each page.

    A page given as bytes is its content stream as it is (for `filters`, already encoded); `outline`
    has (title, page) pairs.
    """
    objects: dict[int, bytes] = {3: b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"}
    kids = []
    for page in pages:
        number = max(objects) + 1
        stream = page if isinstance(page, bytes) else _text_stream(page)
        objects[number] = (
            b"<< /Length %d %s >>\nstream\n" % (len(stream), filters.encode()) + stream + b"\nendstream"
        )
        objects[number + 1] = (
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents %d 0 R "
            b"/Resources << /Font << /F1 3 0 R >> >> >>" % number
        )
        kids.append(number + 1)
    objects[2] = b"<< /Type /Pages /Count %d /Kids [%s] >>" % (
        len(kids),
        b" ".join(b"%d 0 R" % kid for kid in kids),
    )
    catalog = b"<< /Type /Catalog /Pages 2 0 R"
    if outline:
        root = max(objects) + 1
        for index, (name, page_index) in enumerate(outline):
            links = b"" if index == 0 else b"/Prev %d 0 R " % (root + index)
            links += b"" if index == len(outline) - 1 else b"/Next %d 0 R " % (root + index + 2)
            objects[root + index + 1] = b"<< /Title (%s) /Parent %d 0 R %s/Dest [%d 0 R /Fit] >>" % (
                name.encode("latin-1"),
                root,
                links,
                kids[page_index],
            )
        objects[root] = b"<< /First %d 0 R /Last %d 0 R /Count %d >>" % (
            root + 1,
            root + len(outline),
            len(outline),
        )
        catalog += b" /Outlines %d 0 R" % root
    objects[1] = catalog + b" >>"
    information = max(objects) + 1
    objects[information] = b"<< /Title (%s) >>" % title.encode("latin-1")
    return _file(objects, information)


def _text_stream(text: str) -> bytes:
    lines = b" T* ".join(
        b"(" + line.encode("latin-1").replace(b"(", b"\\(").replace(b")", b"\\)") + b") Tj"
        for line in text.split("\n")
    )
    return b"BT /F1 12 Tf 14 TL 72 720 Td " + lines + b" ET"


def _file(objects: dict[int, bytes], information: int) -> bytes:
    data = b"%PDF-1.4\n"
    offsets = {}
    for number in sorted(objects):
        offsets[number] = len(data)
        data += b"%d 0 obj\n" % number + objects[number] + b"\nendobj\n"
    start = len(data)
    data += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    data += b"".join(b"%010d 00000 n \n" % offsets[number] for number in sorted(objects))
    trailer = b"trailer\n<< /Size %d /Root 1 0 R /Info %d 0 R >>\nstartxref\n%d\n%%%%EOF\n"
    return data + trailer % (len(objects) + 1, information, start)


def encrypted(data: bytes, *, user_password: str) -> bytes:
    """The file encrypted with RC4, which needs no further package."""
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(data)))
    writer.encrypt(user_password, "owner", algorithm="RC4-128")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def bomb(size: int) -> bytes:
    """A PDF whose one page unpacks to `size` bytes, twice compressed to a few kilobytes."""
    packer = zlib.compressobj(9)
    once = b"".join(packer.compress(b"(x) Tj " * 150_000) for _ in range(size // 1_050_000)) + packer.flush()
    return pdf([zlib.compress(once, 9)], filters="/Filter [/FlateDecode /FlateDecode]")
