"""Small pools with made-up teacher vectors, for tests of the trainer."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import taesr
from taesr import TAESRConfig
from taesr.training.data import TrainingData, prepare
from taesr.training.options import (
    DataOptions,
    LongTextOptions,
    SpaceOptions,
    TeacherOptions,
)
from taesr.training.tokenize_pool import TokenRules

TOKENIZER = str(Path(taesr.__file__).parent / "models" / "default" / "tokenizer.model")
RULES = TokenRules(tokenizer=TOKENIZER, bos_id=0, eos_id=2, limits=(64, 16))

WORDS = ["river", "stone", "bread", "cloud", "engine", "paper", "garden", "winter", "music", "copper", "lamp"]
_WORDS = [
    "river",
    "stone",
    "bread",
    "cloud",
    "engine",
    "paper",
    "garden",
    "winter",
    "music",
    "window",
    "copper",
    "letter",
    "harbour",
    "candle",
]


def make_records(
    *, topics: int = 6, passages: int = 5, queries: int = 2, seed: int = 0
) -> list[dict[str, Any]]:
    """Passages of some topics, a document each, every passage with queries after all passages."""
    rng = np.random.default_rng(seed)
    records: list[dict[str, Any]] = []
    for topic in range(topics):
        for i in range(passages):
            words = rng.choice(_WORDS, int(rng.integers(6, 30)))
            text = f"Topic {topic}, part {i}: {' '.join(words)}."
            records.append({"text": text, "role": "passage", "parent": None, "document": f"doc {topic}"})
    for parent in range(1, topics * passages + 1):
        for _ in range(queries):
            text = " ".join(rng.choice(_WORDS, 3))
            records.append({"text": text, "role": "query", "parent": parent, "document": None})
    records.append({"text": "what is it", "role": "query", "parent": None, "document": None})
    return records


def write_pool(path: Path, records: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return str(path)


def write_word_pool(path: Path, passages: int = 200, *, queries: int = 1, parents: bool = True) -> Path:
    """Passages of a few WORDS and a number, and for each so many queries of its first two words."""
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS, int(rng.integers(3, 12)))) + f" {i}" for i in range(passages)]
    records = [{"text": text, "role": "passage", "parent": None, "document": None} for text in texts]
    for _ in range(queries):
        for i, text in enumerate(texts):
            words, own = " ".join(text.split()[:2]), i + 1 if parents else None
            records.append({"text": words, "role": "query", "parent": own, "document": None})
    write_pool(path, records)
    return path


def make_vectors(records: list[dict[str, Any]], width: int, seed: int) -> np.ndarray:
    """Unit vectors: texts of a document lie near each other, queries near their passage."""
    rng = np.random.default_rng(seed)
    topics: dict[str, np.ndarray] = {}
    vectors: list[np.ndarray] = []
    for record in records:
        noise = rng.normal(size=width)
        if record["parent"] is not None:
            vector = vectors[record["parent"] - 1] + 0.3 * noise / np.sqrt(width)
        else:
            name = str(record["document"])
            vector = topics.setdefault(name, rng.normal(size=width) / np.sqrt(width)) + 0.3 * noise / np.sqrt(
                width
            )
        vectors.append(vector / np.linalg.norm(vector))
    return np.array(vectors, np.float16)


@dataclass
class SmallPool:
    records: list[dict[str, Any]]
    options: DataOptions
    teachers: list[TeacherOptions]
    space: SpaceOptions
    config: TAESRConfig

    def prepare(self, **changes: Any) -> TrainingData:
        arguments: dict[str, Any] = {
            "data": self.options,
            "teachers": self.teachers,
            "space": self.space,
            "tokenizer": TOKENIZER,
            "config": self.config,
            "device": "cpu",
            "seed": 0,
        }
        arguments |= changes
        data, teachers, space = (arguments.pop(name) for name in ("data", "teachers", "space"))
        with torch.random.fork_rng():
            return prepare(data, teachers, space, **arguments)


def small_pool(folder: Path, *, records: list[dict[str, Any]] | None = None, **data: Any) -> SmallPool:
    """A pool with two cached teachers of 24 and 16 values, of which the second is centred."""
    records = make_records() if records is None else records
    teachers = []
    for number, (name, width) in enumerate((("one", 24), ("two", 16))):
        path = folder / f"{name}.npy"
        np.save(path, make_vectors(records, width, number))
        teachers.append(TeacherOptions(name=name, kind="cached", path=str(path), center=name == "two"))
    values: dict[str, Any] = {
        "pools": [write_pool(folder / "pool.jsonl", records)],
        "cache": str(folder / "cache"),
        "max_passage_tokens": 64,
        "max_query_tokens": 16,
        "long_texts": LongTextOptions(count=4, min_tokens=60, max_tokens=120),
        "batch_tokens": 400,
        "group_tokens": 120,
        "clusters": 6,
        "processes": 1,
    }
    options = DataOptions(**(values | data))
    space = SpaceOptions(dimensions=16, slices=[8, 16], steps=30, rows=64)
    config = TAESRConfig(
        hidden_size=32,
        intermediate_size=64,
        num_attention_heads=4,
        embedding_size=16,
        matryoshka_dimensions=[8, 16],
    )
    return SmallPool(records, options, teachers, space, config)
