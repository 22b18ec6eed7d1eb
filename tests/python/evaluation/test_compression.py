"""What compressed vectors cost in quality."""

from pathlib import Path

import numpy as np
import pytest
from bag_of_words import BagOfWordsEncoder

from taesr.compression import VectorCodec, parse_names
from taesr.errors import ChecksumError, FormatError, InvalidArgument, IoError
from taesr.evaluation import RetrievalOptions, load_beir
from taesr.evaluation.compression import CompressionReport, compare_codecs, evaluate_compression


def _vectors(count: int, dim: int = 40, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize(
    "name",
    ["float32", "float16", "int8", "int4", "binary", "pq10", "opq10", "top12", "slice20-int8", "pca16-int4"],
)
def test_scores_are_products_with_decoded_vectors(name: str) -> None:
    vectors, queries = _vectors(300), _vectors(5, seed=1)
    codec = VectorCodec.fit(name, vectors)
    codes = codec.encode(vectors)
    assert codes.shape == (300, codec.code_size)
    expected = queries @ codec.decode(codes).T
    np.testing.assert_allclose(codec.score(queries, codes), expected, atol=2e-5)
    positions, scores = codec.search(queries, codes, k=7)
    assert positions.shape == scores.shape == (5, 7)
    np.testing.assert_array_equal(
        positions, np.argsort(-codec.score(queries, codes), axis=1, kind="stable")[:, :7]
    )


def test_a_codec_survives_a_file_and_damage_is_seen(tmp_path: Path) -> None:
    vectors = _vectors(300)
    codec = VectorCodec.fit("pca16-int8", vectors)
    codec.save(tmp_path / "codec")
    again = VectorCodec.load(tmp_path / "codec")
    assert (again.name, again.dimension, again.code_size, again.ratio) == ("pca16-int8", 40, 16, 10)
    np.testing.assert_array_equal(again.encode(vectors), codec.encode(vectors))
    data = bytearray(codec.to_bytes())
    data[200] ^= 1
    with pytest.raises(ChecksumError, match="'codec' is damaged"):
        VectorCodec.from_bytes(bytes(data))
    with pytest.raises(FormatError, match="not a codec"):
        VectorCodec.from_bytes(b"nothing")
    with pytest.raises(IoError, match="cannot read"):
        VectorCodec.load(tmp_path / "missing")


def test_bad_input_is_refused_with_what_is_allowed() -> None:
    vectors = _vectors(300)
    codec = VectorCodec.fit("int8", vectors)
    with pytest.raises(InvalidArgument, match="allowed: float32, float16"):
        VectorCodec.fit("int3", vectors)
    with pytest.raises(InvalidArgument, match="at least 256 rows"):
        VectorCodec.fit("pq8", vectors[:100])
    with pytest.raises(InvalidArgument, match=r"uint8 \[n, 40\]"):
        codec.decode(np.zeros((3, 39), np.uint8))
    with pytest.raises(InvalidArgument, match="values must be finite"):
        codec.encode(np.full((1, 40), np.nan, np.float32))
    with pytest.raises(InvalidArgument, match="this codec is for 40"):
        codec.score(_vectors(1, 8), codec.encode(vectors))
    with pytest.raises(InvalidArgument, match="only binary ones"):
        codec.search(vectors, codec.encode(vectors), rescore=4)


def test_names_are_read_once_each() -> None:
    assert parse_names("pq48, int8,,int8") == ["pq48", "int8"]


def test_float32_is_the_reference_and_keeps_everything(beir_folder: Path) -> None:
    dataset = load_beir(beir_folder)
    encoder = BagOfWordsEncoder()
    result = evaluate_compression(dataset, encoder, ["int8", "binary", "slice16"], RetrievalOptions())
    assert [row.codec for row in result.codecs] == ["float32", "int8", "binary", "slice16"]
    assert [row.bytes_per_vector for row in result.codecs] == [256, 64, 8, 64]
    assert result.codecs[0].retained == result.codecs[0].overlap == 1
    assert all(
        0 <= row.ndcg <= 1 and row.retained == pytest.approx(row.ndcg / result.codecs[0].ndcg)
        for row in result.codecs
    )
    report = CompressionReport([result], {"depth": "hard"})
    assert report.to_dict()["mean_retained"]["float32"] == 1
    lines = report.to_text().splitlines()
    assert lines[0].split()[:3] == ["codec", "bytes", "smaller"]
    assert lines[2].split()[:3] == ["int8", "64", "4.0x"]


def test_a_wrong_name_is_refused_before_anything_is_encoded(beir_folder: Path) -> None:
    encoder = BagOfWordsEncoder()
    with pytest.raises(InvalidArgument, match="codec 'int9'"):
        evaluate_compression(load_beir(beir_folder), encoder, ["int8", "int9"])
    assert encoder.calls == []


def test_quality_lost_is_measured(beir_folder: Path) -> None:
    dataset = load_beir(beir_folder)
    documents = np.eye(4, 8, dtype=np.float32)
    queries = np.stack([documents[0], documents[1]])
    result = compare_codecs(dataset, queries, documents, ["top1", "slice1"])
    full, top, sliced = result.codecs
    assert top.ndcg == pytest.approx(full.ndcg)  # one value is all that these vectors have
    assert sliced.ndcg <= full.ndcg
    assert sliced.ratio == 8
