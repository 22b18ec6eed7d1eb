"""The options of Collection.search, against NumPy over what the collection holds."""

import math
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

import taesr
from taesr import Collection, Document, Encoder
from taesr.retrieval import FusionWeights, SearchOptions
from tests.python.small_models import save, small_config

WEIGHTS = {"dense": 0.6, "keyword": 0.4}
LONG = "\n\n".join(
    f"Paragraph {i} of the manual tells how to set dial {i} of the machine, and why nobody should touch it."
    for i in range(60)
)


@pytest.fixture(scope="module")
def kb(tmp_path_factory: pytest.TempPathFactory, encoder: Encoder) -> Collection:
    collection = Collection.open(tmp_path_factory.mktemp("kb"), encoder=encoder)
    things = ["printer", "password", "invoice", "network", "backup", "licence", "screen", "keyboard"]
    collection.add(
        [
            Document("manual", LONG, title="Manual"),
            *(
                Document(
                    f"{thing}-{n}",
                    f"The {thing} number {n} can be changed in the settings of {thing}s.",
                    metadata={"n": n},
                )
                for thing in things
                for n in range(5)
            ),
        ]
    )
    return collection


@pytest.mark.parametrize("fusion", ["rrf", "weighted"])
def test_contributions_and_terms_add_up(kb: Collection, fusion: str) -> None:
    weights = WEIGHTS if fusion == "weighted" else None
    result = kb.search("change printer number 3", fusion=fusion, weights=weights, explain=True)
    assert len(result) == 10
    for hit in result:
        why = hit.explanation
        assert why is not None
        assert sum(why.contributions.values()) == hit.score
        assert set(why.contributions) == {"dense", "keyword"}
        assert why.depth >= 1
        assert why.redundancy is None
        assert why.pieces, "of the model's sparse head, which the collection need not keep"
        assert why.token_pairs, "the same of its late one"
        assert sum(score for _, score in why.terms) == pytest.approx(hit.scores.get("keyword", 0), abs=1e-5)
    assert [term for term, _ in result.hits[0].explanation.terms] == ["chang", "number", "printer"]
    assert result.router_probabilities is None


def test_results_name_their_fusion(kb: Collection) -> None:
    assert kb.search("printer").fusion == {"method": "rrf", "k": 60.0}
    assert kb.search("printer", weights=WEIGHTS).fusion == {"method": "weighted", "weights": WEIGHTS}
    assert kb.search("printer", mode="dense").fusion == {}


def test_weights_come_as_mapping_fit_or_file(kb: Collection, tmp_path: Path) -> None:
    fit = FusionWeights(WEIGHTS)
    fit.save(tmp_path / "w.json")
    expected = kb.search("reset the backup", weights=WEIGHTS)
    for weights in (fit, tmp_path / "w.json", str(tmp_path / "w.json")):
        assert kb.search("reset the backup", weights=weights).hits == expected.hits
    scaled = kb.search("reset the backup", weights={head: 10 * w for head, w in WEIGHTS.items()})
    assert [hit.chunk_id for hit in scaled] == [hit.chunk_id for hit in expected]


def test_weighted_fusion_is_that_of_numpy_over_all_scores(kb: Collection, encoder: Encoder) -> None:
    query = "set dial 7"
    pool = {}
    for mode in ("dense", "keyword"):
        for hit in kb.search(query, mode=mode, k=100):
            pool.setdefault(hit.chunk_id, {})[mode] = hit.score
    texts = {hit.chunk_id: hit for hit in kb.search(query, k=200)}
    ids = sorted(pool)
    asked = encoder.encode([query], role="query")[0]
    headed = [f"{texts[i].title}\n{texts[i].text}" if texts[i].title else texts[i].text for i in ids]
    dense = encoder.encode(headed) @ asked
    keyword = np.array([pool[i].get("keyword", 0.0) for i in ids])
    fused = sum(w * (s - s.mean()) / s.std() for w, s in ((0.6, dense.astype(float)), (0.4, keyword)))
    result = kb.search(query, weights=WEIGHTS, k=len(ids))
    scores = dict(zip(ids, fused.tolist(), strict=True))
    assert [hit.score for hit in result] == pytest.approx([scores[hit.chunk_id] for hit in result], abs=1e-3)
    assert [hit.score for hit in result] == sorted((hit.score for hit in result), reverse=True)


def test_mmr_is_that_of_numpy(kb: Collection, encoder: Encoder) -> None:
    query, share = "change the number of a printer", 0.4
    pool = kb.search(query, mode="dense", k=100).hits
    headed = [f"{hit.title}\n{hit.text}" if hit.title else hit.text for hit in pool]
    vectors = encoder.encode(headed)
    scores = np.array([hit.score for hit in pool])
    relevance = (scores - scores.min()) / (scores.max() - scores.min())
    chosen: list[int] = []
    while len(chosen) < 8:
        nearest = (vectors @ vectors[chosen].T).max(axis=1) if chosen else np.zeros(len(pool))
        values = share * relevance - (1 - share) * nearest
        values[chosen] = -np.inf
        chosen.append(int(values.argmax()))
    found = kb.search(query, mode="dense", k=8, mmr=share, explain=True)
    assert [hit.chunk_id for hit in found] == [pool[i].chunk_id for i in chosen]
    for place, hit in enumerate(found.hits[1:], 1):
        expected = float((vectors[chosen[place]] @ vectors[chosen[:place]].T).max())
        assert hit.explanation.redundancy == pytest.approx(expected, abs=1e-4)


def test_neighbours_are_joined_to_one_text_with_offsets(kb: Collection) -> None:
    alone = kb.search("dial 30", k=3).hits[0]
    assert alone.joined == ()
    joined = kb.search("dial 30", k=3, expand=2)
    first = joined.hits[0]
    assert first.document == "manual"
    assert first.begin < alone.begin
    assert first.end > alone.end
    assert alone.chunk_id in first.joined
    for hit in joined:
        if hit.document == "manual":
            assert hit.text == LONG.encode()[hit.begin : hit.end].decode()
    members = [member for hit in joined for member in hit.joined]
    assert len(members) == len(set(members))
    whole = kb.search("dial 30", k=50, expand=100).hits
    assert [(hit.begin, hit.end) for hit in whole if hit.document == "manual"] == [(0, len(LONG.encode()))]


def test_a_batch_gives_what_single_searches_give(kb: Collection) -> None:
    queries = [f"the {thing} number {n}" for thing in ("printer", "screen", "licence") for n in range(4)]
    queries += ["", " \n"]
    options = [
        SearchOptions(
            k=1 + i % 5, mode=("hybrid", "dense", "keyword")[i % 3], filter={"n": 1} if i % 4 == 0 else None
        )
        for i in range(len(queries))
    ]
    batch = kb.search_batch(queries, options)
    for query, each, result in zip(queries, options, batch, strict=True):
        single = kb.search(query, k=each.k, mode=each.mode, filter=each.filter)
        assert [(hit.chunk_id, hit.ranks) for hit in result] == [(hit.chunk_id, hit.ranks) for hit in single]
        assert [hit.score for hit in result] == pytest.approx([hit.score for hit in single], abs=1e-6)
    assert kb.search_batch([]) == []
    assert [len(result) for result in kb.search_batch(["printer", "backup"])] == [10, 10]
    with pytest.raises(taesr.InvalidArgument, match="2 options for 14 queries"):
        kb.search_batch(queries, options[:2])
    with pytest.raises(taesr.InvalidArgument, match="query 1 is a int"):
        kb.search_batch(["printer", 3])  # type: ignore[list-item]


def test_batches_leave_other_threads_running(kb: Collection) -> None:
    """Search holds no lock of the interpreter, so that a thread may count on."""
    counted, done = 0, threading.Event()

    def count() -> None:
        nonlocal counted
        while not done.is_set():
            counted += 1

    thread = threading.Thread(target=count)
    thread.start()
    try:
        kb.search_batch([f"the printer number {n}" for n in range(64)], SearchOptions(depth="hard"))
    finally:
        done.set()
        thread.join()
    assert counted > 1000


def test_effort_takes_the_least_depth_at_0_and_the_greatest_at_1(kb: Collection) -> None:
    things = ("it", "a number", "the invoice", "my password", "a dial")
    queries = [f"how do I change {thing}" for thing in things] * 4
    deep = []
    for effort in (0.0, 0.5, 1.0):
        results = kb.search_batch(queries, SearchOptions(effort=effort))
        assert {result.depth for result in results} <= {1, 6}
        deep.append(sum(result.depth == 6 for result in results))
    assert deep[0] == 0
    assert deep[2] == len(queries)
    assert deep[0] <= deep[1] <= deep[2]
    hard = kb.search(queries[0], depth="hard")
    assert [hit.chunk_id for hit in kb.search(queries[0], effort=1.0)] == [hit.chunk_id for hit in hard]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fusion": "weighted"}, "weighted' without weights"),
        ({"weights": {"dense": 1.0}}, "no weight for head 'keyword'"),
        ({"weights": {"dense": -1.0, "keyword": 1.0}}, "weight of head 'dense' is -1"),
        ({"weights": {"dense": math.nan, "keyword": 1.0}}, "weight of head 'dense' is nan"),
        ({"weights": {"dense": "1", "keyword": 1.0}}, "weight of head 'dense' is '1'"),
        ({"weights": {"dense": 0, "keyword": 0}}, "all heads are 0"),
        ({"fusion": "sum"}, "fusion 'sum'"),
        ({"mmr": 1.01}, "mmr is 1.01"),
        ({"mmr": math.nan}, "mmr is nan"),
        ({"expand": -1}, "expand is -1"),
        ({"expand": 101}, "expand is 101"),
        ({"effort": 2.0}, "effort is 2"),
        ({"effort": 0.5, "depth": "hard"}, "effort chooses the depth"),
        ({"rrf_k": -1.0}, "rrf_k is -1"),
        ({"k": 0}, "k is 0"),
        ({"dim": 1000}, "dim is 1000"),
    ],
)
def test_options_out_of_range_are_named(kb: Collection, options: dict[str, object], message: str) -> None:
    with pytest.raises(taesr.InvalidArgument, match=message):
        kb.search("printer", **options)  # type: ignore[arg-type]


def test_more_than_there_is_gives_what_there_is(kb: Collection) -> None:
    for options in ({}, {"mmr": 0.5}, {"expand": 3}, {"weights": WEIGHTS}, {"effort": 0.5}):
        result = kb.search("printer", k=10_000, **options)
        assert 0 < len(result) <= kb.chunk_count
        assert len({hit.chunk_id for hit in result}) == len(result)


def test_an_empty_collection_finds_nothing_whatever_is_asked_for(tmp_path: Path, encoder: Encoder) -> None:
    with Collection.open(tmp_path, encoder=encoder) as empty:
        for options in (
            {},
            {"mmr": 0.5},
            {"expand": 3},
            {"weights": WEIGHTS},
            {"effort": 0.5},
            {"explain": True},
        ):
            assert empty.search("printer", **options).hits == []


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    """A random model with a sparse and a late-interaction head and a router."""
    torch.manual_seed(0)
    model = taesr.TAESRModel(small_config(sparse_head=True, late_size=6, router_size=4))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return Encoder.load(save(model, tmp_path_factory.mktemp("full")))


def test_heads_of_the_model_explain_their_part(tmp_path: Path, full: Encoder) -> None:
    texts = {"a": "The printer is offline", "b": "Reset the password"}
    query = "printer password"
    with Collection.open(tmp_path, encoder=full) as kb:
        kb.add([Document(name, text) for name, text in texts.items()])
        result = kb.search(query, explain=True)
    assert set(result.router_probabilities) == {"easy", "medium", "hard"}
    assert sum(result.router_probabilities.values()) == pytest.approx(1, abs=1e-5)
    asked = full.encode_full([query], outputs=["late"], role="query")
    looked_up = full.encode_sparse_query([query])
    for hit in result:
        read = full.encode_full([texts[hit.document]], outputs=["sparse", "late"])
        product = np.asarray((looked_up.to_scipy() @ read.sparse.to_scipy().T).todense()).item()
        pieces = [score for _, score in hit.explanation.pieces]
        assert pieces == sorted(pieces, reverse=True)
        assert sum(pieces) <= product * 1.0001
        pairs = hit.explanation.token_pairs
        cosines = (asked.late[0] @ read.late[0].T).max(axis=1)
        assert [cosine for *_, cosine in pairs] == pytest.approx(sorted(cosines.tolist(), reverse=True)[:10])
        tokens = {full.native.tokenizer.piece(i) for i in full.native.tokenizer.encode(texts[hit.document])}
        assert {other for _, other, _ in pairs} <= tokens
