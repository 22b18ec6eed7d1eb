"""What test_ray.py runs in a process of its own, where nothing but this machine can reach Ray's ports."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import ray

import taesr
from taesr.integrations.ray import EncodeColumn, Workers, encode_dataset, encode_files


def datasets(model: str, encoder: taesr.Encoder) -> dict[str, object]:
    texts = [f"passage {i} — ü{'!' * (i % 5)}" for i in range(40)] + [""]
    rows = ray.data.from_items([{"id": i, "body": text} for i, text in enumerate(texts)])
    column = EncodeColumn(text="body", output="vector", model=model, precision="float32", dim=8, depth=2)
    made = sorted(encode_dataset(rows, column, batch_size=16).take_all(), key=lambda row: row["id"])
    expected = encoder.encode(texts, dim=8, depth=2)
    vectors = np.stack([row["vector"] for row in made])
    return {
        "same": bool(np.allclose(vectors, expected, atol=1e-5)),
        "dtype": str(vectors.dtype),
        "texts": [row["body"] for row in made] == texts,
    }


def files(folder: Path, model: str, encoder: taesr.Encoder) -> dict[str, object]:
    inputs = sorted(folder.glob("in/*"))
    column = EncodeColumn(model=model, precision="float32", role="query")
    seen: list[tuple[int, int]] = []

    def run(**options: object) -> tuple[int, int, int, list[tuple[str, str]]]:
        report = encode_files(
            inputs,
            folder / "out",
            column,
            batch_size=3,
            progress=lambda *done: seen.append(done),
            **options,  # type: ignore[arg-type]
        )
        return report.encoded, report.rows, report.done_before, report.failed

    first = run(workers=Workers(count=1))
    # An interrupted call leaves some outputs out, and perhaps a piece of one.
    (folder / "out" / "b.parquet").unlink()
    (folder / "out" / "b.parquet.1.part").write_bytes(b"half")
    (folder / "in" / "broken.jsonl").write_text('{"text": "whole again"}\n')
    second = run()
    table = parquet.read_table(folder / "out" / "a.parquet")
    vectors = np.stack(table["embedding"].to_numpy(zero_copy_only=False))
    expected = encoder.encode(table["text"].to_pylist(), role="query")
    return {
        "reports": [first, second],
        "progress": seen,
        "same": bool(np.allclose(vectors, expected, atol=1e-5)),
        "type": str(table.schema.field("embedding").type),
        "columns": table.column_names,
        "empty": parquet.read_table(folder / "out" / "empty.parquet").num_rows,
        "listed": sorted(path.name for path in (folder / "out").glob("*.parquet")),
    }


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    model = sys.argv[2]
    ray.init(num_cpus=1, include_dashboard=False, object_store_memory=80 << 20, log_to_driver=False)
    try:
        encoder = taesr.Encoder.load(model, precision="float32")
        result = {
            "usage": os.environ["RAY_USAGE_STATS_ENABLED"],
            "datasets": datasets(model, encoder),
            "files": files(folder, model, encoder),
        }
    finally:
        ray.shutdown()
    (folder / "result.json").write_text(json.dumps(result))
