"""The encoder as a model of the ``mteb`` package (2.x), to run the public benchmark.

    import mteb, taesr
    from taesr.evaluation.mteb import MTEBEncoder
    mteb.evaluate(MTEBEncoder(taesr.Encoder.load()), mteb.get_tasks(tasks=["SciFact"]))

mteb fetches its data sets from the network; nothing else of this package does.
"""

import json
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from taesr.errors import Error, InvalidArgument
from taesr.evaluation.exact import Floats

if TYPE_CHECKING:
    import taesr
    from taesr.encoder import Overflow, Role


class MTEBEncoder:
    """Follows ``mteb.models.EncoderProtocol``.

    Queries of retrieval tasks are encoded as queries, documents as passages; where a task makes no
    difference (similarity, classification, clustering) `symmetric_role` is used.

    Parameters
    ----------
    encoder : Encoder
    depth : str or int
        Of all texts: "easy", "medium", "hard", "auto" or a number of recursions.
    passage_depth : str or int, optional
        Of documents, where it differs.
    dim : int, optional
        Matryoshka prefix; all by default.
    on_overflow : str
        "truncate" reads the first pass of a long text, as published figures do; "chunk" all of it.
    max_tokens : int, optional
        Of one pass; None for as many as the model reads.
    symmetric_role : str
        "query" or "passage".
    name : str, optional
        ``organisation/model`` under which mteb files the results.
    license : str
        An SPDX name in lower case.

    Raises
    ------
    Error
        mteb is not installed.
    """

    def __init__(
        self,
        encoder: "taesr.Encoder",
        *,
        depth: str | int = "hard",
        passage_depth: str | int | None = None,
        dim: int | None = None,
        on_overflow: "Overflow" = "truncate",
        max_tokens: int | None = 256,
        symmetric_role: "Role" = "query",
        name: str | None = None,
        license: str = "apache-2.0",  # noqa: A002 - the field's name in mteb
    ) -> None:
        self._encoder = encoder
        self._depth = depth
        self._passage_depth = depth if passage_depth is None else passage_depth
        self._dim = dim
        self._on_overflow = on_overflow
        self._max_tokens = None if max_tokens is None else min(max_tokens, encoder.max_tokens)
        self._symmetric_role = symmetric_role
        self.mteb_model_meta = self._model_meta(name or f"libtaesr/{_model_name(encoder)}", license)

    def encode(self, inputs: Iterable[dict[str, Any]], *, prompt_type: Any = None, **options: Any) -> Floats:
        """Encode the batches of a data loader.

        Parameters
        ----------
        inputs
            Batches with the list of strings ``text``.
        prompt_type
            ``PromptType.query``, ``PromptType.document`` or None.
        options
            What else mteb hands over (task_metadata, hf_split, hf_subset, batch_size ...): an
            embedding of this model depends on its text, role and depth alone.

        Returns
        -------
        float32 [texts, dim], unit rows
        """
        role = self._role(prompt_type)
        vectors = [np.empty((0, self._dim or self._encoder.dimension), np.float32)]
        for batch in inputs:
            if "text" not in batch:
                raise InvalidArgument(
                    f"a batch has {', '.join(sorted(batch))} and no 'text'; this model reads text"
                )
            vectors.append(
                self._encoder.encode(
                    list(batch["text"]),
                    role=role,
                    depth=self._passage_depth if role == "passage" else self._depth,
                    dim=self._dim,
                    on_overflow=self._on_overflow,
                    max_tokens=self._max_tokens,
                )
            )
        return np.vstack(vectors)

    def similarity(self, embeddings1: Any, embeddings2: Any) -> torch.Tensor:
        """Cosines of all pairs: [m, d] and [n, d] give [m, n]."""
        return _unit(embeddings1) @ _unit(embeddings2).T

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> torch.Tensor:
        """Cosines of corresponding rows: [n, d] and [n, d] give [n]."""
        return (_unit(embeddings1) * _unit(embeddings2)).sum(-1)

    def _role(self, prompt_type: Any) -> "Role":
        if prompt_type is None:
            return self._symmetric_role
        return "query" if str(getattr(prompt_type, "value", prompt_type)) == "query" else "passage"

    def _model_meta(self, name: str, license_name: str) -> Any:
        try:
            from mteb.models import ModelMeta
        except ImportError:
            raise Error("this needs the mteb package: pip install 'taesr[mteb]'") from None

        parameters, in_embeddings, size = _weights(Path(self._encoder.source) / "model.safetensors")
        return ModelMeta(
            loader=None,
            name=name,
            revision=self._encoder.fingerprint,
            release_date=None,
            languages=["eng-Latn"],
            n_parameters=parameters,
            n_embedding_parameters=in_embeddings,
            memory_usage_mb=size / 2**20,
            max_tokens=self._max_tokens or self._encoder.max_tokens,
            embed_dim=self._dim or self._encoder.dimension,
            license=license_name,
            open_weights=True,
            public_training_code=None,
            public_training_data=None,
            framework=["PyTorch", "safetensors"],
            similarity_fn_name="cosine",
            use_instructions=False,
            training_datasets=None,
            # Part of the name under which results are kept: depths and slices must not be mixed up.
            experiment_kwargs={
                "depth": str(self._depth),
                "passage_depth": str(self._passage_depth),
                "dim": self._dim or self._encoder.dimension,
                "on_overflow": self._on_overflow,
            },
        )


def _model_name(encoder: "taesr.Encoder") -> str:
    name = Path(encoder.source).resolve().name
    return f"taesr-{name}" if name == "default" else name


def _unit(embeddings: Any) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.as_tensor(embeddings).float(), dim=-1)


def _weights(path: Path) -> tuple[int, int, int]:
    """Return the parameters, those of the embedding tables, and the bytes, by the file's header."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    # The scale of a quantised table belongs to its storage.
    shapes = {
        name: entry["shape"]
        for name, entry in header.items()
        if name != "__metadata__" and not name.endswith(".scale")
    }
    counts = {name: int(np.prod(shape, dtype=np.int64)) for name, shape in shapes.items()}
    tables = [
        count for name, count in counts.items() if name.startswith("embeddings.") and "norm" not in name
    ]
    return sum(counts.values()), sum(tables), path.stat().st_size
