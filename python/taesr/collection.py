"""Documents, their chunks and embeddings in one directory, and the search over them."""

import datetime
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from taesr import searching
from taesr._native import core
from taesr.document import Document, Scalar, Section
from taesr.encoder import Encoder
from taesr.errors import InvalidArgument
from taesr.filters import to_filter
from taesr.hits import Hit, SearchResult
from taesr.maintenance import choose_snapshot
from taesr.searching import Fusion, Mode, SearchOptions
from taesr.text import to_native
from taesr.updating import IngestReport, Progress, bring_up_to_date

if TYPE_CHECKING:
    from taesr.retrieval import FusionWeights


class Collection:
    """Documents with their embeddings in one directory, and the search over them.

    One process writes and any number read; a second writer fails at once. Changes are
    transactions. Methods release the GIL and may be called from several threads.

    Examples
    --------
    >>> with Collection.open("kb") as kb:                     # doctest: +SKIP
    ...     kb.ingest(["docs"])
    ...     for hit in kb.search("reset password", k=5):
    ...         print(hit.document, hit.section, hit.score)
    """

    def __init__(self, native: core.Collection, encoder: Encoder) -> None:
        self.native = native
        self.encoder = encoder

    @classmethod
    def open(
        cls,
        directory: str | Path,
        *,
        encoder: Encoder | None = None,
        create: bool = True,
        read_only: bool = False,
        compact_beyond: float = 0.3,
        heads: Sequence[str] = (),
    ) -> Self:
        """Open a collection, or make a new one.

        Parameters
        ----------
        encoder
            Must be the model that the collection was made with; None loads the default one.
        create
            Make the directory when there is none.
        read_only
            Search beside a writer; nothing on the disk is changed.
        compact_beyond
            A writer compacts the database by itself once deletions have left more than this share of
            its file unused, and the index of vectors is made anew once more than this share of it is
            of deleted chunks; 1: never.
        heads
            Heads to search by: "dense" and "keyword", which every collection has, and "sparse" and "late"
            of models that have them. A new collection gets those named here; one that is there must have
            them already (see `add_heads`). Empty: as the collection was made.

        Raises
        ------
        InvalidArgument
            The model or the collection lacks one of `heads`.
        IoError
            No such collection, no permission, or another writer (named by its process).
        ModelMismatch
            The embeddings inside were made by another model.
        FormatError, VersionError
            The database is damaged, or of another version.
        """
        encoder = encoder or Encoder.load()
        native = core.Collection.open(
            Path(directory),
            encoder.native,
            create=create and not read_only,
            read_only=read_only,
            compact_beyond=compact_beyond,
            heads=list(heads),
        )
        return cls(native, encoder)

    def add(
        self,
        documents: Iterable[Document],
        *,
        replace: bool = False,
        chunk_tokens: int = 220,
        overlap: int = 50,
        depth: str | int = "auto",
        progress: Progress | None = None,
    ) -> IngestReport:
        """Add new documents and replace those whose content changed.

        Parameters
        ----------
        replace
            Embed again even what is unchanged.
        chunk_tokens, overlap
            Largest chunk, 200 to 800 tokens, and what neighbours share, 50 to 100.
        depth
            Recursions of the passages' embeddings.
        progress
            Called with (documents done, documents in all) after each committed batch.
        """
        report = self.native.add(
            [to_native(document) for document in documents],
            chunking=core.ChunkOptions(max_tokens=chunk_tokens, overlap=overlap),
            depth=str(depth),
            replace=replace,
            progress=progress,
        )
        return IngestReport(report.added, report.updated, report.unchanged, 0, report.chunks)

    def ingest(
        self,
        paths: Sequence[str | Path] | str | Path,
        *,
        replace: bool = False,
        chunk_tokens: int = 220,
        overlap: int = 50,
        depth: str | int = "auto",
        progress: Progress | None = None,
    ) -> IngestReport:
        """Bring the collection up to date with files and folders (Markdown, text, HTML, PDF).

        New and changed files are read and embedded; documents of files that are gone from the
        folders given are removed. A file that cannot be read is reported and stops nothing.
        Interrupted, the collection holds every batch that was done.

        Parameters are those of `add`; `progress` counts files.
        """
        return bring_up_to_date(
            self,
            paths,
            replace=replace,
            chunk_tokens=chunk_tokens,
            overlap=overlap,
            depth=depth,
            progress=progress,
        )

    def add_heads(
        self, heads: Sequence[str], *, depth: str | int = "auto", progress: Progress | None = None
    ) -> int:
        """Add "sparse" or "late" to the heads of the collection and embed what is in it for them.

        Interrupted, the next call goes on where this one stopped; the heads can be searched when all is
        done. Heads that the collection has already stay as they are.

        Parameters
        ----------
        depth
            Recursions of the passages' embeddings.
        progress
            Called with (chunks done, chunks in all) after each committed batch.

        Returns
        -------
        How many chunks were embedded.

        Raises
        ------
        InvalidArgument
            The model lacks one of `heads`.
        """
        return self.native.add_heads(list(heads), depth=str(depth), progress=progress)

    def remove(
        self,
        ids: Iterable[str] = (),
        *,
        filter: Mapping[str, Scalar] | None = None,  # noqa: A002 - as in `search`
    ) -> int:
        """Remove documents by id (unknown ones are ignored) or by metadata; returns how many there were."""
        ids = list(ids)
        if filter is None:
            return self.native.remove(ids)
        if ids:
            raise InvalidArgument("ids and a filter at once; remove by one after the other")
        return self.native.remove_matching(to_filter(filter))

    def update_metadata(self, name: str, metadata: Mapping[str, Scalar]) -> bool:
        """Give the document with this id other metadata without embedding it again.

        Returns
        -------
        False when there is no such document.
        """
        return self.native.update_metadata(name, json.dumps(dict(metadata), allow_nan=False))

    def compact(self) -> core.CompactReport:
        """Give back the space of what was deleted and make the indexes anew."""
        return self.native.compact()

    def create_snapshot(self, *, keep: int = 0) -> core.Snapshot:
        """Keep a copy of all rows in the collection's folder, then drop the oldest beyond `keep`; 0: none."""
        if keep < 0:
            raise InvalidArgument(f"keep is {keep}; allowed: 0 (all) or a number of snapshots")
        return self.native.create_snapshot(keep=keep)

    def snapshots(self) -> list[core.Snapshot]:
        """Snapshots, oldest first."""
        return self.native.snapshots()

    def restore_snapshot(
        self, name: str | None = None, *, at: datetime.datetime | None = None
    ) -> core.Snapshot:
        """Put a snapshot in place of everything here, as `taesr.maintenance.restore_snapshot` does."""
        return self.native.restore_snapshot(choose_snapshot(self.snapshots(), name, at))

    def search(
        self,
        query: str,
        *,
        k: int = 10,
        mode: Mode = "hybrid",
        depth: str | int = "auto",
        dim: int | None = None,
        filter: Mapping[str, Scalar] | None = None,  # noqa: A002 - the field's word for it
        fusion: Fusion | None = None,
        weights: "Mapping[str, float] | FusionWeights | str | Path | None" = None,
        rrf_k: float = 60.0,
        mmr: float | None = None,
        expand: int = 0,
        effort: float | None = None,
        explain: bool = False,
    ) -> SearchResult:
        """Find the chunks that answer `query`. Parameters are the fields of `SearchOptions`."""
        options = SearchOptions(
            k=k,
            mode=mode,
            depth=depth,
            dim=dim,
            filter=filter,
            fusion=fusion,
            weights=weights,
            rrf_k=rrf_k,
            mmr=mmr,
            expand=expand,
            effort=effort,
            explain=explain,
        )
        return self.search_batch([query], options)[0]

    def search_batch(
        self, queries: Sequence[str], options: SearchOptions | Sequence[SearchOptions] | None = None
    ) -> list[SearchResult]:
        """Search for many queries: embedded together, then searched on several threads.

        Parameters
        ----------
        queries
            What is blank finds nothing.
        options
            One for all, or one for each query.

        Raises
        ------
        InvalidArgument
            Names the option that is out of range; nothing is searched then.
        """
        options = options or SearchOptions()
        each = [options] if isinstance(options, SearchOptions) else list(options)
        return searching.run(self.native, self.encoder, queries, each)

    def documents(self) -> list[core.DocumentInfo]:
        """Id, title, source, content hash and number of chunks of every document."""
        return self.native.documents()

    def document(self, name: str) -> Document | None:
        """The document with this id as it was added, or None."""
        found = self.native.document(name)
        if found is None:
            return None
        return Document(
            id=found.id,
            text=found.text,
            title=found.title,
            sections=tuple(Section(s.path, s.begin, s.end) for s in found.sections),
            source=found.source,
            metadata=json.loads(found.metadata),
            content_hash=found.content_hash,
        )

    @property
    def heads(self) -> list[str]:
        """Names of the heads that can be searched: "dense", "keyword" and perhaps "late" and "sparse"."""
        return self.native.heads

    @property
    def document_count(self) -> int:
        """Documents."""
        return self.native.document_count

    @property
    def chunk_count(self) -> int:
        """Chunks."""
        return self.native.chunk_count

    @property
    def notes(self) -> list[str]:
        """What was done beyond what was asked for, such as rebuilding a damaged index; one sentence each."""
        return self.native.notes

    @property
    def directory(self) -> Path:
        """Where the collection lies."""
        return Path(self.native.directory)

    def close(self) -> None:
        """Write the indexes and let go of the files; twice is harmless."""
        self.native.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        if self.native.closed:
            return f"Collection('{self.directory}', closed)"
        return f"Collection('{self.directory}', {self.document_count} documents, {self.chunk_count} chunks)"


__all__ = ["Collection", "Hit", "IngestReport", "Mode", "Progress", "SearchOptions", "SearchResult"]
