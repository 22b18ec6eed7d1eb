"""
Compiled part of taesr. Use the classes of the package `taesr`, which document it.
"""
from __future__ import annotations
import collections.abc
import numpy
import numpy.typing
import os
import pathlib
import torch
import typing
__all__: list[str] = ['AddReport', 'CheckReport', 'Chunk', 'ChunkOptions', 'Collection', 'CollectionInfo', 'CompactReport', 'Decoder', 'DecoderConfig', 'DecoderTrace', 'DeviceEngine', 'Document', 'DocumentInfo', 'Embedder', 'EncodeResult', 'Encoder', 'Explanation', 'GenerateOptions', 'Generation', 'GenerationQueue', 'GenerationQueueStatus', 'Hit', 'HnswFilter', 'HnswIndex', 'ImpactIndex', 'ModelShape', 'PackedLayout', 'QueuedText', 'RoutedRecursion', 'SearchOptions', 'SearchResult', 'Section', 'Snapshot', 'StoredChunk', 'TAESRConfig', 'TextStream', 'TokenIndex', 'Tokenizer', 'TransferReport', 'VectorCodec', 'check_collection', 'check_weights', 'chunk_document', 'compact_collection', 'copy_collection', 'cpu_multiplies_bfloat16', 'create_snapshot', 'default_model_path', 'dense_embedding', 'describe_collection', 'encoder_forward', 'encoder_states', 'export_collection', 'forward_routed', 'fuse', 'import_collection', 'late_embedding', 'list_collections', 'list_snapshots', 'load_weights', 'passage_text', 'pooled_mean', 'remove_documents', 'remove_documents_matching', 'restore_snapshot', 'router_class', 'router_features', 'router_logits', 'save_weights', 'search_batch', 'sparse_embedding', 'split_sentences', 'standard_scores', 'text_flops', 'weight_shapes']
class TAESRConfig:
    __hash__: typing.ClassVar[None] = None
    @staticmethod
    def from_file(path: os.PathLike | str | bytes) -> TAESRConfig:
        ...
    @staticmethod
    def from_json(text: str, origin: str = 'config') -> TAESRConfig:
        ...
    def __eq__(self, arg0: TAESRConfig) -> bool:
        ...
    def recursions(self, depth: str) -> int:
        ...
    def to_json(self) -> str:
        ...
    @property
    def bos_id(self) -> int:
        ...
    @property
    def embedding_size(self) -> int:
        ...
    @property
    def entry_layers(self) -> int:
        ...
    @property
    def eos_id(self) -> int:
        ...
    @property
    def exit_layers(self) -> int:
        ...
    @property
    def hidden_size(self) -> int:
        ...
    @property
    def intermediate_size(self) -> int:
        ...
    @property
    def late_size(self) -> int:
        ...
    @property
    def layer_norm_eps(self) -> float:
        ...
    @property
    def matryoshka_dimensions(self) -> list[int]:
        ...
    @property
    def max_position_embeddings(self) -> int:
        ...
    @property
    def max_recursions(self) -> int:
        ...
    @property
    def num_attention_heads(self) -> int:
        ...
    @property
    def pad_id(self) -> int:
        ...
    @property
    def recursion_steps(self) -> dict[str, int]:
        ...
    @property
    def refinement_layers(self) -> int:
        ...
    @property
    def router_confidence(self) -> float:
        ...
    @property
    def router_size(self) -> int:
        ...
    @property
    def shared_layers(self) -> int:
        ...
    @property
    def sharing(self) -> str:
        ...
    @property
    def sparse_head(self) -> bool:
        ...
    @property
    def sparse_queries(self) -> str:
        ...
    @property
    def subspaces(self) -> dict[str, int]:
        ...
    @property
    def token_capacity(self) -> list[float]:
        ...
    @property
    def token_routing(self) -> str:
        ...
    @property
    def unk_id(self) -> int:
        ...
    @property
    def vocab_size(self) -> int:
        ...
class Tokenizer:
    @staticmethod
    def load(path: os.PathLike | str | bytes) -> Tokenizer:
        ...
    def __len__(self) -> int:
        ...
    def decode(self, ids: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex]) -> str:
        ...
    def encode(self, text: str) -> list[int]:
        ...
    def piece(self, id: typing.SupportsInt | typing.SupportsIndex) -> str:
        ...
class EncodeResult:
    def sparse_arrays(self) -> tuple[numpy.typing.NDArray[numpy.int64], numpy.typing.NDArray[numpy.int32], numpy.typing.NDArray[numpy.float32]]:
        ...
    def take_embeddings(self) -> numpy.typing.NDArray[numpy.float32]:
        ...
    def take_late(self) -> list[numpy.typing.NDArray[numpy.float32]]:
        ...
    def take_router_probabilities(self) -> numpy.typing.NDArray[numpy.float32]:
        ...
    def take_subspaces(self) -> dict[str, numpy.typing.NDArray[numpy.float32]]:
        ...
    @property
    def deadline_missed(self) -> bool:
        ...
    @property
    def depths(self) -> list[int]:
        ...
    @property
    def token_counts(self) -> list[int]:
        ...
    @property
    def truncated(self) -> int:
        ...
    @property
    def windows(self) -> list[int]:
        ...
class Embedder:
    def count_tokens(self, text: str) -> int:
        ...
    @property
    def dimension(self) -> int:
        ...
    @property
    def fingerprint(self) -> str:
        ...
    @property
    def max_tokens(self) -> int:
        ...
class Encoder(Embedder):
    @staticmethod
    def load(path: os.PathLike | str | bytes | None, precision: str, device: str = 'cpu') -> Encoder:
        ...
    def encode(self, texts: collections.abc.Sequence[str], role: str, depth: str, dim: typing.SupportsInt | typing.SupportsIndex, on_overflow: str, outputs: collections.abc.Sequence[str], sparse_top: typing.SupportsInt | typing.SupportsIndex, max_flops: typing.SupportsFloat | typing.SupportsIndex | None, deadline_ms: typing.SupportsFloat | typing.SupportsIndex | None, first_text: typing.SupportsInt | typing.SupportsIndex, max_tokens: typing.SupportsInt | typing.SupportsIndex) -> EncodeResult:
        ...
    def encode_sparse_query(self, texts: collections.abc.Sequence[str]) -> tuple[numpy.typing.NDArray[numpy.int64], numpy.typing.NDArray[numpy.int32], numpy.typing.NDArray[numpy.float32]]:
        ...
    def flops(self, tokens: typing.SupportsInt | typing.SupportsIndex, depth: str, outputs: collections.abc.Sequence[str]) -> float:
        ...
    @property
    def config(self) -> TAESRConfig:
        ...
    @property
    def device(self) -> str:
        ...
    @property
    def precision(self) -> str:
        ...
    @property
    def source(self) -> pathlib.Path:
        ...
    @property
    def tokenizer(self) -> Tokenizer:
        ...
class ModelShape:
    def __init__(self) -> None:
        ...
    @property
    def embedding_size(self) -> float:
        ...
    @embedding_size.setter
    def embedding_size(self, arg0: typing.SupportsFloat | typing.SupportsIndex) -> None:
        ...
    @property
    def entry_layers(self) -> int:
        ...
    @entry_layers.setter
    def entry_layers(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    @property
    def exit_layers(self) -> int:
        ...
    @exit_layers.setter
    def exit_layers(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    @property
    def hidden_size(self) -> float:
        ...
    @hidden_size.setter
    def hidden_size(self, arg0: typing.SupportsFloat | typing.SupportsIndex) -> None:
        ...
    @property
    def intermediate_size(self) -> float:
        ...
    @intermediate_size.setter
    def intermediate_size(self, arg0: typing.SupportsFloat | typing.SupportsIndex) -> None:
        ...
    @property
    def late_size(self) -> float:
        ...
    @late_size.setter
    def late_size(self, arg0: typing.SupportsFloat | typing.SupportsIndex) -> None:
        ...
    @property
    def max_position_embeddings(self) -> float:
        ...
    @max_position_embeddings.setter
    def max_position_embeddings(self, arg0: typing.SupportsFloat | typing.SupportsIndex) -> None:
        ...
    @property
    def refinement_layers(self) -> int:
        ...
    @refinement_layers.setter
    def refinement_layers(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    @property
    def shared_layers(self) -> int:
        ...
    @shared_layers.setter
    def shared_layers(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    @property
    def token_capacity(self) -> list[float]:
        ...
    @token_capacity.setter
    def token_capacity(self, arg0: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex]) -> None:
        ...
    @property
    def vocab_size(self) -> float:
        ...
    @vocab_size.setter
    def vocab_size(self, arg0: typing.SupportsFloat | typing.SupportsIndex) -> None:
        ...
class Section:
    """
    A titled part of a document: its headings joined by ' > ', and the bytes [begin, end) of the UTF-8 text that it takes. Offsets are bytes, not characters.
    """
    def __init__(self, path: str, begin: typing.SupportsInt | typing.SupportsIndex, end: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    def __repr__(self) -> str:
        ...
    @property
    def begin(self) -> int:
        """
        First byte.
        """
    @property
    def end(self) -> int:
        """
        Byte behind the last.
        """
    @property
    def path(self) -> str:
        ...
class Document:
    """
    A text to search. Section offsets are bytes of the UTF-8 text; `metadata` is one JSON object as a string; an empty `content_hash` is filled in from the content when it is added.
    """
    def __init__(self, *, id: str, text: str, title: str = '', sections: collections.abc.Sequence[Section] = [], source: str = '', metadata: str = '{}', content_hash: str = '') -> None:
        ...
    def __repr__(self) -> str:
        ...
    @property
    def content_hash(self) -> str:
        ...
    @property
    def id(self) -> str:
        ...
    @property
    def metadata(self) -> str:
        """
        One JSON object.
        """
    @property
    def sections(self) -> list[Section]:
        ...
    @property
    def source(self) -> str:
        ...
    @property
    def text(self) -> str:
        ...
    @property
    def title(self) -> str:
        ...
class ChunkOptions:
    """
    How documents are cut; sizes are in the counter's tokens.
    """
    def __init__(self, *, max_tokens: typing.SupportsInt | typing.SupportsIndex = 220, overlap: typing.SupportsInt | typing.SupportsIndex = 50) -> None:
        ...
    def __repr__(self) -> str:
        ...
    @property
    def max_tokens(self) -> int:
        """
        200 to 800; a chunk is never longer.
        """
    @max_tokens.setter
    def max_tokens(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    @property
    def overlap(self) -> int:
        """
        50 to 100; repeated between neighbours of one section.
        """
    @overlap.setter
    def overlap(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
class Chunk:
    """
    A piece of a document: the bytes [begin, end) of its UTF-8 text. Offsets are bytes, not characters: `document.text.encode()[begin:end].decode()` is `text`.
    """
    def __repr__(self) -> str:
        ...
    @property
    def begin(self) -> int:
        """
        First byte.
        """
    @property
    def end(self) -> int:
        """
        Byte behind the last.
        """
    @property
    def section(self) -> str:
        """
        Headings above it, joined by ' > '.
        """
    @property
    def text(self) -> str:
        ...
    @property
    def tokens(self) -> int:
        ...
class CollectionInfo:
    """
    A collection without its content.
    """
    def __repr__(self) -> str:
        ...
    @property
    def bytes(self) -> int:
        """
        Of its files, snapshots not counted.
        """
    @property
    def chunks(self) -> int:
        ...
    @property
    def dimension(self) -> int:
        ...
    @property
    def directory(self) -> pathlib.Path:
        ...
    @property
    def documents(self) -> int:
        ...
    @property
    def fingerprint(self) -> str:
        """
        Of the model that made the embeddings.
        """
    @property
    def generation(self) -> int:
        """
        Commits since it was made.
        """
    @property
    def problem(self) -> str:
        """
        Why it cannot be opened; empty where it can.
        """
class Snapshot:
    """
    A copy of all rows of a collection at one time.
    """
    def __repr__(self) -> str:
        ...
    @property
    def bytes(self) -> int:
        ...
    @property
    def generation(self) -> int:
        ...
    @property
    def milliseconds(self) -> int:
        """
        When it was made, since 1970 in UTC.
        """
    @property
    def name(self) -> str:
        """
        Time in UTC, generation and checksum.
        """
class CompactReport:
    """
    What a compaction gained.
    """
    def __repr__(self) -> str:
        ...
    @property
    def bytes_after(self) -> int:
        ...
    @property
    def bytes_before(self) -> int:
        ...
class CheckReport:
    """
    What a check of a collection found.
    """
    def __repr__(self) -> str:
        ...
    @property
    def chunks(self) -> int:
        ...
    @property
    def documents(self) -> int:
        ...
    @property
    def notes(self) -> list[str]:
        """
        What the next opening repairs by itself.
        """
    @property
    def problems(self) -> list[str]:
        """
        Damage, one sentence each.
        """
class TransferReport:
    """
    What was exported or imported.
    """
    def __repr__(self) -> str:
        ...
    @property
    def chunks(self) -> int:
        ...
    @property
    def documents(self) -> int:
        ...
class StoredChunk:
    """
    A chunk with the document that it belongs to. Offsets are bytes of the UTF-8 text.
    """
    def __repr__(self) -> str:
        ...
    @property
    def begin(self) -> int:
        ...
    @property
    def document(self) -> str:
        """
        Id of the document.
        """
    @property
    def end(self) -> int:
        ...
    @property
    def id(self) -> int:
        ...
    @property
    def metadata(self) -> str:
        """
        The document's, one JSON object.
        """
    @property
    def section(self) -> str:
        ...
    @property
    def source(self) -> str:
        ...
    @property
    def text(self) -> str:
        ...
    @property
    def title(self) -> str:
        ...
    @property
    def tokens(self) -> int:
        ...
class DocumentInfo:
    """
    One document of a collection, without its text.
    """
    def __repr__(self) -> str:
        ...
    @property
    def chunks(self) -> int:
        """
        How many it has.
        """
    @property
    def content_hash(self) -> str:
        ...
    @property
    def id(self) -> str:
        ...
    @property
    def source(self) -> str:
        ...
    @property
    def title(self) -> str:
        ...
class AddReport:
    """
    What adding documents did.
    """
    def __repr__(self) -> str:
        ...
    @property
    def added(self) -> int:
        ...
    @property
    def chunks(self) -> int:
        """
        Embedded by this call.
        """
    @property
    def unchanged(self) -> int:
        ...
    @property
    def updated(self) -> int:
        ...
class Collection:
    """
    Documents with their embeddings in one directory.
    """
    @staticmethod
    def open(directory: os.PathLike | str | bytes, embedder: typing.Any, *, create: bool = True, read_only: bool = False, compact_beyond: typing.SupportsFloat | typing.SupportsIndex = 0.3, heads: collections.abc.Sequence[str] = []) -> Collection:
        ...
    def __enter__(self) -> typing.Any:
        ...
    def __exit__(self, *args) -> None:
        ...
    def __repr__(self) -> str:
        ...
    def add(self, documents: collections.abc.Sequence[Document], *, chunking: ChunkOptions = ..., depth: str = 'auto', replace: bool = False, progress: collections.abc.Callable | None = None) -> AddReport:
        """
        Adds new documents and replaces changed ones. `progress(done, total)` is called after each batch; it stops by returning False or raising, and what was committed stays.
        """
    def add_heads(self, heads: collections.abc.Sequence[str], *, depth: str = 'auto', progress: collections.abc.Callable | None = None) -> int:
        """
        Embeds what is there for further heads, "sparse" or "late"; returns how many chunks that were. Interrupted, the next call goes on where this one stopped.
        """
    def chunks(self, ids: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex]) -> list[StoredChunk]:
        """
        Stored chunks in the order asked for; ids that are gone are left out.
        """
    def close(self) -> None:
        """
        Writes the indexes and frees the collection; twice is harmless.
        """
    def compact(self) -> CompactReport:
        ...
    def create_snapshot(self, *, keep: typing.SupportsInt | typing.SupportsIndex = 0) -> Snapshot:
        ...
    def document(self, id: str) -> Document | None:
        ...
    def documents(self) -> list[DocumentInfo]:
        ...
    def remove(self, ids: collections.abc.Sequence[str]) -> int:
        """
        Removes documents; unknown ids are ignored. Returns how many there were.
        """
    def remove_matching(self, filter: collections.abc.Mapping[str, str]) -> int:
        """
        Removes the documents with this metadata. Returns how many there were.
        """
    def restore_snapshot(self, name: str) -> Snapshot:
        ...
    def search_dense(self, query: typing.Annotated[numpy.typing.ArrayLike, numpy.float32], k: typing.SupportsInt | typing.SupportsIndex, *, filter: collections.abc.Mapping[str, str] = {}) -> list[tuple[int, float]]:
        """
        Pairs (chunk id, cosine), best first, for a vector or a prefix of one.
        """
    def search_keyword(self, query: str, k: typing.SupportsInt | typing.SupportsIndex, *, filter: collections.abc.Mapping[str, str] = {}) -> list[tuple[int, float]]:
        """
        Pairs (chunk id, BM25 score), best first.
        """
    def snapshots(self) -> list[Snapshot]:
        ...
    def update_metadata(self, id: str, metadata: str) -> bool:
        """
        Gives a document other metadata; False for an unknown id.
        """
    @property
    def chunk_count(self) -> int:
        ...
    @property
    def closed(self) -> bool:
        ...
    @property
    def directory(self) -> str:
        ...
    @property
    def document_count(self) -> int:
        ...
    @property
    def heads(self) -> list[str]:
        """
        Names of the heads that can be searched.
        """
    @property
    def notes(self) -> list[str]:
        ...
class SearchOptions:
    """
    How a collection is searched.
    """
    def __init__(self, *, k: typing.SupportsInt | typing.SupportsIndex = 10, mode: str = 'hybrid', depth: str = 'auto', dim: typing.SupportsInt | typing.SupportsIndex = 0, candidates: typing.SupportsInt | typing.SupportsIndex = 0, fusion: str = 'rrf', weights: collections.abc.Mapping[str, typing.SupportsFloat | typing.SupportsIndex] = {}, rrf_k: typing.SupportsFloat | typing.SupportsIndex = 60.0, mmr: typing.SupportsFloat | typing.SupportsIndex | None = None, expand: typing.SupportsInt | typing.SupportsIndex = 0, effort: typing.SupportsFloat | typing.SupportsIndex | None = None, explain: bool = False, filter: collections.abc.Mapping[str, str] = {}) -> None:
        ...
class Explanation:
    """
    Why a hit stands where it does.
    """
    @property
    def contributions(self) -> dict[str, float]:
        """
        By head; added in this order they are the fused score.
        """
    @property
    def depth(self) -> int:
        """
        Recursions of the passage's embedding.
        """
    @property
    def redundancy(self) -> float | None:
        """
        Largest cosine with an earlier hit, with mmr.
        """
    @property
    def terms(self) -> list[tuple[str, float]]:
        """
        Terms shared with the query and their parts of the BM25 score.
        """
class Hit:
    """
    One result of a search.
    """
    def __repr__(self) -> str:
        ...
    @property
    def chunk(self) -> StoredChunk:
        ...
    @property
    def explanation(self) -> Explanation | None:
        ...
    @property
    def joined(self) -> list[int]:
        """
        With expand: ids of the chunks in it.
        """
    @property
    def ranks(self) -> dict[str, int]:
        """
        By head, from 1; only of heads that found the chunk.
        """
    @property
    def score(self) -> float:
        """
        The head's own score, or the fused one of a hybrid search.
        """
    @property
    def scores(self) -> dict[str, float]:
        """
        By head.
        """
class SearchResult:
    """
    The hits of a search, best first, and what it cost.
    """
    def __len__(self) -> int:
        ...
    def __repr__(self) -> str:
        ...
    @property
    def depth(self) -> int:
        """
        Recursions used for the query; 0 without an embedding.
        """
    @property
    def hits(self) -> list[Hit]:
        ...
    @property
    def timings(self) -> dict:
        """
        Milliseconds: encode, retrieve, total.
        """
class VectorCodec:
    @staticmethod
    def fit(name: str, sample: typing.Annotated[numpy.typing.ArrayLike, numpy.float32], seed: typing.SupportsInt | typing.SupportsIndex, iterations: typing.SupportsInt | typing.SupportsIndex, max_rows: typing.SupportsInt | typing.SupportsIndex) -> VectorCodec:
        ...
    @staticmethod
    def load(bytes: bytes, source: str) -> VectorCodec:
        ...
    def decode(self, codes: typing.Annotated[numpy.typing.ArrayLike, numpy.uint8]) -> numpy.typing.NDArray[numpy.float32]:
        ...
    def encode(self, vectors: typing.Annotated[numpy.typing.ArrayLike, numpy.float32]) -> numpy.typing.NDArray[numpy.uint8]:
        ...
    def save(self) -> bytes:
        ...
    def score(self, queries: typing.Annotated[numpy.typing.ArrayLike, numpy.float32], codes: typing.Annotated[numpy.typing.ArrayLike, numpy.uint8]) -> numpy.typing.NDArray[numpy.float32]:
        ...
    def search(self, queries: typing.Annotated[numpy.typing.ArrayLike, numpy.float32], codes: typing.Annotated[numpy.typing.ArrayLike, numpy.uint8], k: typing.SupportsInt | typing.SupportsIndex, rescore: typing.SupportsInt | typing.SupportsIndex) -> tuple[numpy.typing.NDArray[numpy.int64], numpy.typing.NDArray[numpy.float32]]:
        ...
    @property
    def code_size(self) -> int:
        ...
    @property
    def dimension(self) -> int:
        ...
    @property
    def name(self) -> str:
        ...
class DecoderConfig:
    @staticmethod
    def read(path: os.PathLike | str | bytes) -> DecoderConfig:
        ...
    def __init__(self, *, vocab_size: typing.SupportsInt | typing.SupportsIndex, hidden_size: typing.SupportsInt | typing.SupportsIndex, intermediate_size: typing.SupportsInt | typing.SupportsIndex, layers: typing.SupportsInt | typing.SupportsIndex, heads: typing.SupportsInt | typing.SupportsIndex, kv_heads: typing.SupportsInt | typing.SupportsIndex, head_dim: typing.SupportsInt | typing.SupportsIndex, max_positions: typing.SupportsInt | typing.SupportsIndex, rope_theta: typing.SupportsFloat | typing.SupportsIndex = 10000.0, norm_eps: typing.SupportsFloat | typing.SupportsIndex = 1e-05, tied_embeddings: bool = True, sharing: str = 'none', recursions: typing.SupportsInt | typing.SupportsIndex = 1, routing: str = 'none', gate: str = 'scaled', gate_scale: typing.SupportsFloat | typing.SupportsIndex = 0.1) -> None:
        ...
    def unique_layer(self, layer: typing.SupportsInt | typing.SupportsIndex) -> int:
        ...
    @property
    def block_layers(self) -> int:
        ...
    @property
    def end_layers(self) -> int:
        ...
    @property
    def gate(self) -> str:
        ...
    @property
    def gate_scale(self) -> float:
        ...
    @property
    def head_dim(self) -> int:
        ...
    @property
    def heads(self) -> int:
        ...
    @property
    def hidden_size(self) -> int:
        ...
    @property
    def intermediate_size(self) -> int:
        ...
    @property
    def kv_heads(self) -> int:
        ...
    @property
    def layers(self) -> int:
        ...
    @property
    def max_positions(self) -> int:
        ...
    @property
    def norm_eps(self) -> float:
        ...
    @property
    def recursions(self) -> int:
        ...
    @property
    def rope_theta(self) -> float:
        ...
    @property
    def routing(self) -> str:
        ...
    @property
    def sharing(self) -> str:
        ...
    @property
    def tied_embeddings(self) -> bool:
        ...
    @property
    def unique_layers(self) -> int:
        ...
    @property
    def vocab_size(self) -> int:
        ...
class Generation:
    @property
    def decode_seconds(self) -> float:
        ...
    @property
    def finish(self) -> str:
        ...
    @property
    def kv_bytes(self) -> int:
        ...
    @property
    def prefill_seconds(self) -> float:
        ...
    @property
    def prompt_tokens(self) -> int:
        ...
    @property
    def text(self) -> str:
        ...
    @property
    def tokens(self) -> list[int]:
        ...
class DecoderTrace:
    @property
    def kv_bytes(self) -> int:
        ...
    @property
    def kv_bytes_read(self) -> int:
        ...
    @property
    def recursions(self) -> list[int]:
        ...
class GenerateOptions:
    def __init__(self, *, max_tokens: typing.SupportsInt | typing.SupportsIndex, temperature: typing.SupportsFloat | typing.SupportsIndex, top_k: typing.SupportsInt | typing.SupportsIndex, top_p: typing.SupportsFloat | typing.SupportsIndex, repetition_penalty: typing.SupportsFloat | typing.SupportsIndex, logit_bias: collections.abc.Mapping[typing.SupportsInt | typing.SupportsIndex, typing.SupportsFloat | typing.SupportsIndex], stop: collections.abc.Sequence[str], seed: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
class TextStream:
    def next(self) -> str | None:
        ...
    def result(self) -> Generation:
        ...
class Decoder:
    @staticmethod
    def load(path: os.PathLike | str | bytes, kv_caching: str, precision: str, device: str) -> Decoder:
        ...
    def decode(self, tokens: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex]) -> str:
        ...
    def encode(self, text: str, parse_special: bool) -> list[int]:
        ...
    def encode_chat(self, messages: collections.abc.Sequence[tuple[str, str]]) -> list[int]:
        ...
    def logits(self, tokens: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex]) -> numpy.typing.NDArray[numpy.float32]:
        ...
    def save(self, path: os.PathLike | str | bytes, precision: str, tokenizer: os.PathLike | str | bytes | None, blocks: collections.abc.Mapping[str, typing.Annotated[numpy.typing.ArrayLike, numpy.uint8]]) -> None:
        ...
    def stream(self, prompt: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], options: GenerateOptions) -> TextStream:
        ...
    def trace(self, tokens: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex]) -> DecoderTrace:
        ...
    def weights(self) -> dict[str, numpy.typing.NDArray[numpy.float32]]:
        ...
    @property
    def config(self) -> DecoderConfig:
        ...
    @property
    def weight_bytes(self) -> int:
        ...
class GenerationQueueStatus:
    @property
    def active(self) -> int:
        ...
    @property
    def kv_bytes(self) -> int:
        ...
    @property
    def rows(self) -> int:
        ...
    @property
    def steps(self) -> int:
        ...
    @property
    def waiting(self) -> int:
        ...
class QueuedText:
    def cancel(self) -> None:
        ...
    def next(self, seconds: typing.SupportsFloat | typing.SupportsIndex) -> str | None:
        ...
    def result(self) -> Generation:
        ...
    def wait_for_end(self, seconds: typing.SupportsFloat | typing.SupportsIndex) -> bool:
        ...
class GenerationQueue:
    def __init__(self, decoder: Decoder, *, max_active: typing.SupportsInt | typing.SupportsIndex, max_waiting: typing.SupportsInt | typing.SupportsIndex, batch_tokens: typing.SupportsInt | typing.SupportsIndex, refill: bool) -> None:
        ...
    def close(self) -> None:
        ...
    def status(self) -> GenerationQueueStatus:
        ...
    def submit(self, prompt: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], options: GenerateOptions) -> QueuedText:
        ...
class DeviceEngine:
    def __init__(self, config: TAESRConfig, weights: collections.abc.Mapping[str, torch.Tensor], precision: str, device: str) -> None:
        ...
    def embed(self, tokens: torch.Tensor, offsets: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], roles: torch.Tensor, depths: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], routed: bool) -> torch.Tensor:
        ...
    def router_probabilities(self, tokens: torch.Tensor, offsets: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], roles: torch.Tensor) -> torch.Tensor:
        ...
class ImpactIndex:
    """
    Inverted index over sparse rows; positions are from 0.
    """
    @staticmethod
    def build(indptr: typing.Annotated[numpy.typing.ArrayLike, numpy.int64], indices: typing.Annotated[numpy.typing.ArrayLike, numpy.int32], values: typing.Annotated[numpy.typing.ArrayLike, numpy.float32], *, bits: typing.SupportsInt | typing.SupportsIndex = 8, bm25: bool = False, k1: typing.SupportsFloat | typing.SupportsIndex = 1.5, b: typing.SupportsFloat | typing.SupportsIndex = 0.75) -> ImpactIndex:
        ...
    def __len__(self) -> int:
        ...
    def search(self, indptr: typing.Annotated[numpy.typing.ArrayLike, numpy.int64], indices: typing.Annotated[numpy.typing.ArrayLike, numpy.int32], values: typing.Annotated[numpy.typing.ArrayLike, numpy.float32], *, k: typing.SupportsInt | typing.SupportsIndex, pruned: bool = True) -> list[list[tuple[int, float]]]:
        ...
    @property
    def nbytes(self) -> int:
        ...
class HnswFilter:
    """
    Positions to choose from.
    """
class HnswIndex:
    """
    Approximate search of vectors; positions are from 0.
    """
    def __init__(self, dimension: typing.SupportsInt | typing.SupportsIndex, *, format: str = 'float32', metric: str = 'cosine', links: typing.SupportsInt | typing.SupportsIndex = 16, construction_width: typing.SupportsInt | typing.SupportsIndex = 200, search_width: typing.SupportsInt | typing.SupportsIndex = 128, compact_beyond: typing.SupportsFloat | typing.SupportsIndex = 0.3) -> None:
        ...
    def __len__(self) -> int:
        ...
    def link(self) -> None:
        ...
    def prepare_filter(self, positions: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex]) -> HnswFilter:
        ...
    def remove(self, positions: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex]) -> None:
        ...
    def search(self, queries: typing.Annotated[numpy.typing.ArrayLike, numpy.float32], k: typing.SupportsInt | typing.SupportsIndex, filter: HnswFilter = None) -> numpy.typing.NDArray[numpy.int64]:
        ...
    def set_search_width(self, width: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    def stage(self, vectors: typing.Annotated[numpy.typing.ArrayLike, numpy.float32]) -> None:
        ...
    @property
    def needs_compaction(self) -> bool:
        ...
class TokenIndex:
    """
    Compressed token vectors of texts, scored by MaxSim.
    """
    def __init__(self, sample: typing.Annotated[numpy.typing.ArrayLike, numpy.float32], *, centroids: typing.SupportsInt | typing.SupportsIndex = 1024) -> None:
        ...
    def __len__(self) -> int:
        ...
    def append(self, id: typing.SupportsInt | typing.SupportsIndex, tokens: typing.Annotated[numpy.typing.ArrayLike, numpy.float32]) -> None:
        ...
    def candidates(self, query: typing.Annotated[numpy.typing.ArrayLike, numpy.float32], count: typing.SupportsInt | typing.SupportsIndex, probes: typing.SupportsInt | typing.SupportsIndex = 8) -> list[int]:
        ...
    def score(self, query: typing.Annotated[numpy.typing.ArrayLike, numpy.float32], ids: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex]) -> list[tuple[int, float]]:
        ...
    @property
    def code_size(self) -> int:
        ...
class PackedLayout:
    def __init__(self, offsets: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], device: torch.device) -> None:
        ...
    @property
    def lengths(self) -> torch.Tensor:
        ...
    @property
    def sequence(self) -> torch.Tensor:
        ...
class RoutedRecursion:
    @property
    def active(self) -> torch.Tensor:
        ...
    @property
    def active_share(self) -> float:
        ...
    @property
    def scores(self) -> torch.Tensor:
        ...
def check_collection(directory: os.PathLike | str | bytes) -> CheckReport:
    ...
def check_weights(config: TAESRConfig, weights: collections.abc.Mapping[str, torch.Tensor], origin: str) -> None:
    ...
def chunk_document(document: Document, options: ChunkOptions = ..., count_tokens: collections.abc.Callable | None = None) -> list[Chunk]:
    """
    Cuts a document into chunks at paragraph and sentence ends, with overlap inside a section.
    
    `count_tokens(text)` returns the length of a text in tokens; without it, words are counted. Every
    character that is not white space lies in a chunk, and no chunk has more than `max_tokens`. Raises
    InvalidArgument for options out of range and sections that do not fit the text.
    """
def compact_collection(directory: os.PathLike | str | bytes) -> CompactReport:
    ...
def copy_collection(source: os.PathLike | str | bytes, target: os.PathLike | str | bytes) -> None:
    ...
def cpu_multiplies_bfloat16() -> bool:
    ...
def create_snapshot(directory: os.PathLike | str | bytes, *, keep: typing.SupportsInt | typing.SupportsIndex = 0) -> Snapshot:
    ...
def default_model_path() -> pathlib.Path:
    ...
def dense_embedding(pooled: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    ...
def describe_collection(directory: os.PathLike | str | bytes) -> CollectionInfo:
    ...
def encoder_forward(config: TAESRConfig, weights: collections.abc.Mapping[str, torch.Tensor], tokens: torch.Tensor, offsets: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], roles: torch.Tensor, recursions: typing.SupportsInt | typing.SupportsIndex) -> tuple[torch.Tensor, torch.Tensor]:
    ...
def encoder_states(config: TAESRConfig, weights: collections.abc.Mapping[str, torch.Tensor], tokens: torch.Tensor, layout: PackedLayout, roles: torch.Tensor, depths: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], checkpoint_layers: bool) -> tuple[torch.Tensor, list[torch.Tensor], list[RoutedRecursion]]:
    ...
def export_collection(directory: os.PathLike | str | bytes, folder: os.PathLike | str | bytes, *, progress: collections.abc.Callable | None = None) -> TransferReport:
    ...
def forward_routed(config: TAESRConfig, weights: collections.abc.Mapping[str, torch.Tensor], tokens: torch.Tensor, offsets: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], roles: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, list[int]]:
    ...
def fuse(lists: collections.abc.Sequence[tuple[str, tuple[typing.Annotated[numpy.typing.ArrayLike, numpy.int64], typing.Annotated[numpy.typing.ArrayLike, numpy.float32]]]], *, method: str = 'rrf', weights: collections.abc.Mapping[str, typing.SupportsFloat | typing.SupportsIndex] = {}, rrf_k: typing.SupportsFloat | typing.SupportsIndex = 60.0) -> tuple:
    """
    Lists (head, (ids int64 [n], scores float32 [n])), best first, as one: ids int64 [m], scores float64 [m] and each list's share in them, float64 [m, lists].
    """
def import_collection(folder: os.PathLike | str | bytes, directory: os.PathLike | str | bytes, *, progress: collections.abc.Callable | None = None) -> TransferReport:
    ...
def late_embedding(hidden: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    ...
def list_collections(root: os.PathLike | str | bytes) -> list[CollectionInfo]:
    ...
def list_snapshots(directory: os.PathLike | str | bytes) -> list[Snapshot]:
    ...
def load_weights(path: str) -> dict[str, torch.Tensor]:
    ...
def passage_text(title: str, section: str, text: str) -> str:
    """
    What is embedded of a chunk: its text below its title and headings.
    """
def pooled_mean(hidden: torch.Tensor, layout: PackedLayout) -> torch.Tensor:
    ...
def remove_documents(directory: os.PathLike | str | bytes, ids: collections.abc.Sequence[str]) -> int:
    ...
def remove_documents_matching(directory: os.PathLike | str | bytes, filter: collections.abc.Mapping[str, str]) -> int:
    ...
def restore_snapshot(directory: os.PathLike | str | bytes, name: str) -> Snapshot:
    ...
def router_class(probabilities: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex], confidence: typing.SupportsFloat | typing.SupportsIndex) -> int:
    ...
def router_features(entry: torch.Tensor, layout: PackedLayout) -> torch.Tensor:
    ...
def router_logits(features: torch.Tensor, router: collections.abc.Mapping[str, torch.Tensor]) -> torch.Tensor:
    ...
def save_weights(path: str, weights: collections.abc.Mapping[str, torch.Tensor]) -> None:
    ...
def search_batch(collection: Collection, queries: collections.abc.Sequence[str], options: collections.abc.Sequence[SearchOptions]) -> list[SearchResult]:
    """
    Searches for all queries, with one options for all or one for each.
    """
def sparse_embedding(hidden: torch.Tensor, table: torch.Tensor, head: collections.abc.Mapping[str, torch.Tensor], norm_eps: typing.SupportsFloat | typing.SupportsIndex, offsets: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex]) -> torch.Tensor:
    ...
def split_sentences(text: str) -> list[tuple[int, int]]:
    """
    The sentences of a text as pairs (begin, end) of offsets into its UTF-8 bytes, in order.
    """
def standard_scores(lists: collections.abc.Sequence[tuple[str, tuple[typing.Annotated[numpy.typing.ArrayLike, numpy.int64], typing.Annotated[numpy.typing.ArrayLike, numpy.float32]]]]) -> tuple[numpy.typing.NDArray[numpy.int64], numpy.typing.NDArray[numpy.float64]]:
    """
    The union of the lists' ids, ascending, int64 [m], and their scores less the mean, divided by the standard deviation, float64 [m, lists].
    """
def text_flops(shape: ModelShape, tokens: typing.SupportsFloat | typing.SupportsIndex, windows: typing.SupportsFloat | typing.SupportsIndex, recursions: typing.SupportsInt | typing.SupportsIndex, *, dense: bool, sparse: bool, late: bool) -> float:
    ...
def weight_shapes(config: TAESRConfig) -> list[tuple[str, list[int]]]:
    ...
__compiler__: str = 'GNU 12.2.0'
__torch_version__: str = '2.13.0'
__version__: str = '0.1.0'
