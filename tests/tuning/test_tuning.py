"""Fine-tuning on instructions: what is read, what is learnt, what is written, and what goes on."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("peft")
pytest.importorskip("trl")


from langsteer.errors import (
    CorpusError,
    MissingExtraError,
    ModelError,
    TuneError,
    VectorError,
)
from langsteer.model.model import Model
from langsteer.model.opening import load_model, wrap_model
from langsteer.steering.vector import SteeringVector
from langsteer.tuning import (
    DpoOptions,
    Record,
    SftOptions,
    builtin_instructions,
    common,
    dpo,
    job,
    read_instructions,
    sft,
)
from langsteer.tuning.common import IGNORED, adapted, answer_logprobs, collate, save_adapter
from langsteer.tuning.data import Instructions, read_aligned
from langsteer.tuning.job import examples
from langsteer.tuning.prompts import PLAIN, answered, ending_of, prompt_of, template_of
from tests.helpers import ARCHITECTURES, build_model, make_vector, run

FAST: dict[str, Any] = {"steps": 40, "batch": 8, "rate": 0.02, "half": False, "held_out": 0.2}
SIZE: dict[str, Any] = {"max_position_embeddings": 1024, "initializer_range": 0.3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model on disk."""
    path = tmp_path_factory.mktemp("base")
    model = build_model("llama", **SIZE)
    model.network.save_pretrained(path)
    model.tokenizer.save_pretrained(path)
    return path


@pytest.fixture
def model(folder: Path) -> Model:
    return load_model(folder)


def toy(count: int = 10) -> Instructions:
    """Answers that follow from the language, in two languages with the same ids."""
    answers = {"en": ("yes", "no"), "sw": ("ndio", "hapana")}
    return Instructions(
        tuple(
            Record(str(i), tag, (("user", f"{tag} {i}?"),), good, bad)
            for tag, (good, bad) in answers.items()
            for i in range(count)
        ),
        "toy",
    )


def logits(model: Model, text: str = "### Instruction\nsw 1?\n\n### Response\n") -> torch.Tensor:
    ids = model.tokenizer(text)["input_ids"]
    with torch.no_grad():
        found: torch.Tensor = model.network(**model.batch([ids])).logits
    return found


def lines(path: Path, *rows: Any) -> Path:
    text = "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows)
    path.write_text(text, encoding="utf-8")
    return path


# --- records


ASK = [{"role": "user", "content": "Hi"}]
SAY, DENY = ({"role": "assistant", "content": text} for text in ("Hello", "Bye"))


@pytest.mark.parametrize(
    ("row", "rejected"),
    [
        ({"instruction": "Hi", "chosen": "Hello"}, None),
        ({"instruction": "Hi ", "chosen": "Hello\n", "rejected": "Bye", "fault": "x"}, "Bye"),
        ({"messages": [*ASK, SAY]}, None),
        ({"messages": [*ASK, SAY], "rejected": None}, None),
        ({"prompt": "Hi", "completion": "Hello"}, None),
        ({"prompt": "Hi", "chosen": "Hello", "rejected": "Bye"}, "Bye"),
        ({"prompt": ASK, "chosen": [SAY], "rejected": [DENY]}, "Bye"),
        ({"chosen": [*ASK, SAY], "rejected": [*ASK, DENY]}, "Bye"),
    ],
)
def test_every_form_of_a_record(row: Any, rejected: str | None, tmp_path: Path) -> None:
    (found,) = read_instructions(lines(tmp_path / "a.jsonl", row))
    assert found == Record("1", None, (("user", "Hi"),), "Hello", rejected)
    (found,) = read_instructions(lines(tmp_path / "a.jsonl", row | {"id": 7, "language": "swh"}))
    assert (found.id, found.language, found.instruction) == ("7", "sw", "Hi")


GOOD = {"instruction": "Hi", "chosen": "Hello"}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", r"a\.jsonl, line 3: not JSON"),
        ("[1]", "line 3: not an object"),
        ({"instruction": "Hi"}, "line 3: no chosen"),
        ({"instruction": " ", "chosen": "x"}, "line 3: instruction is empty"),
        ({"instruction": "Hi", "chosen": ""}, "line 3: chosen is empty"),
        ({"instruction": "Hi", "chosen": 3}, "line 3: chosen is not text"),
        (GOOD | {"rejected": " "}, "line 3: rejected is empty"),
        (GOOD | {"rejected": "Hello "}, "line 3: the rejected answer is the chosen one"),
        (GOOD | {"language": "qx"}, "line 3: no language has the tag 'qx'"),
        (GOOD | {"id": "1"}, "line 3: the id '1' is that of line 1 too"),
        ({"text": "Hi"}, "line 3: no instruction, prompt or messages; it has text"),
        ({"messages": ASK}, "line 3: the last of its messages is not the assistant's"),
        ({"messages": []}, "line 3: messages is empty"),
        ({"messages": [SAY]}, "line 3: nothing that a user says"),
        ({"messages": [{"role": "judge", "content": "x"}]}, "whose role is 'judge'"),
        ({"prompt": ASK, "chosen": [{"role": "assistant"}]}, "line 3: no chosen: content"),
        ({"chosen": [*ASK, SAY], "rejected": [DENY]}, "do not begin with the same messages"),
    ],
)
def test_a_bad_record_is_named(row: Any, message: str, tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", GOOD | {"id": "1"}, "", row)
    with pytest.raises(TuneError, match=message):
        read_instructions(path)


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="cannot read"):
        read_instructions(tmp_path / "none.jsonl")
    (tmp_path / "a.jsonl").write_bytes(b'{"instruction": "\xff"}')
    with pytest.raises(CorpusError, match="not UTF-8: line 1"):
        read_instructions(tmp_path / "a.jsonl")
    with pytest.raises(TuneError, match="nothing to learn from"):
        read_instructions([])


def test_a_data_set_of_the_hub(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    (tmp_path / "set").mkdir()
    lines(tmp_path / "set" / "train.jsonl", GOOD | {"language": "tr"}, GOOD | {"rejected": "No"})
    found = read_instructions(f"hf:{tmp_path / 'set'}")
    assert [(r.id, r.language, r.rejected) for r in found] == [("1", "tr", None), ("2", None, "No")]
    with pytest.raises(CorpusError, match="cannot read the data set"):
        read_instructions(f"hf:{tmp_path / 'none'}")


def test_languages_are_chosen_and_sources_joined(tmp_path: Path) -> None:
    one = lines(tmp_path / "a.jsonl", GOOD | {"language": "swh"}, GOOD | {"language": "tr"}, GOOD)
    assert [r.language for r in read_instructions(one, ["sw"])] == ["sw", "sw"]
    assert [r.language for r in read_instructions(one, ["sw", "tr"])] == ["sw", "tr"]
    with pytest.raises(TuneError, match=r"no records in 'et'; its languages: sw, tr"):
        read_instructions(one, ["et", "sw"])
    both = read_instructions([one, lines(tmp_path / "b.jsonl", GOOD | {"language": "et"})])
    assert both.languages == ("sw", "tr", "et")
    assert both.name == "a.jsonl, b.jsonl"
    assert both.fingerprint != read_instructions(one).fingerprint


def test_what_is_held_out_is_held_out_in_every_language() -> None:
    records = toy(20)
    learnt, held = records.split(0.15)
    assert (len(learnt), len(held)) == (34, 6)
    assert {r.id for r in learnt}.isdisjoint(r.id for r in held)
    assert [r.language for r in held] == ["en"] * 3 + ["sw"] * 3
    assert records.split(0.15)[1] == held != records.split(0.15, seed=1)[1]
    assert len(records.split(0)[1]) == 0
    assert len(toy(2).split(0.01)[1]) == 2
    with pytest.raises(TuneError, match="1 different ids"):
        toy(1).split(0.1)
    with pytest.raises(TuneError, match="at least 0 and under 1"):
        records.split(1)


def test_the_builtin_records() -> None:
    found = builtin_instructions()
    assert found.languages == ("en", "es", "hi", "id", "sw", "tr")
    ids = [r.id for r in found.only("en")]
    assert len(ids) == len(set(ids)) == 40
    assert all([r.id for r in found.only(tag)] == ids for tag in found.languages)
    assert all(r.rejected for r in found)
    assert {r.language for r in builtin_instructions(["swh", "tr"])} == {"sw", "tr"}
    assert read_instructions("builtin", ["sw"]).records == builtin_instructions(["sw"]).records
    with pytest.raises(TuneError, match="not in 'fi'; they are in en, es"):
        builtin_instructions(["fi"])


def test_records_that_are_not_aligned(tmp_path: Path) -> None:
    rows = [GOOD | {"id": str(i)} for i in range(3)]
    lines(tmp_path / "en.jsonl", *rows)
    lines(tmp_path / "sw.jsonl", *rows[:2])
    with pytest.raises(TuneError, match=r"sw\.jsonl is not aligned with en\.jsonl"):
        read_aligned(tmp_path)


# --- text


TURNS = (("system", "Be kind"), ("user", "Hi"), ("assistant", "Yes?"), ("user", "A 5?"))
CHAT = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def test_the_plain_template(llama: Model) -> None:
    prompt = prompt_of(llama, PLAIN, Record("1", "en", TURNS, "No"))
    assert str(prompt) == (
        "### System\nBe kind\n\n### Instruction\nHi\n\n### Response\nYes?<eos>\n\n"
        "### Instruction\nA 5?\n\n### Response\n"
    )
    assert (prompt.source, prompt.after) == ("A 5?", "\n\n### Response\n")
    tokens, start = answered(llama, prompt, "No", ending_of(llama, PLAIN))
    decoded = llama.tokenizer.decode(tokens.ids[start:])
    assert decoded == "No<eos>"
    assert tokens.ids[-1] == llama.tokenizer.eos_token_id
    source = [i for i, flag in zip(tokens.ids, tokens.source, strict=True) if flag]
    assert llama.tokenizer.decode(source) == "A 5?"


def test_the_models_own_template(llama: Model, tmp_path: Path) -> None:
    own = build_model("llama")
    own.tokenizer.chat_template = CHAT
    assert template_of(own) == template_of(own, "chat") == CHAT
    assert template_of(own, "plain") == template_of(llama) == PLAIN
    (tmp_path / "t.jinja").write_text(CHAT, encoding="utf-8")
    assert template_of(llama, str(tmp_path / "t.jinja")) == CHAT
    record = Record("1", "en", TURNS[-1:], "No")
    assert str(prompt_of(own, CHAT, record)) == "<|user|>A 5?</s>\n<|assistant|>"
    assert own.tokenizer.decode(ending_of(own, CHAT)) == "</s>"
    bare = CHAT.replace("</s>", "")
    assert ending_of(own, bare) == [own.tokenizer.eos_token_id]


def test_templates_that_cannot_be_used(llama: Model) -> None:
    record = Record("1", "en", TURNS, "No")
    with pytest.raises(TuneError, match="no chat template"):
        template_of(llama, "chat")
    with pytest.raises(TuneError, match="plain, chat or a Jinja file"):
        template_of(llama, "none.jinja")
    with pytest.raises(TuneError, match="changes what the user says"):
        prompt_of(llama, "{{ messages[-1]['content'] | lower }}", record)
    with pytest.raises(TuneError, match="cannot be used"):
        prompt_of(llama, "{{ messages[", record)
    with pytest.raises(TuneError, match="cannot be used"):
        prompt_of(llama, "{{ raise_exception('no system') }}", record)


def test_a_beginning_that_the_template_spells_out_is_there_once(llama: Model) -> None:
    prompt = prompt_of(llama, "{{ bos_token }}" + PLAIN, Record("1", "en", TURNS[1:2], "No"))
    tokens, _ = answered(llama, prompt, "No", [])
    assert tokens.ids.count(llama.bos_id or 0) == 1


# --- the loss


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("held", [2**27, 300])
def test_log_probabilities_and_gradients_of_answers(
    architecture: str, held: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In chunks, at the answers only, as with all logits at once."""
    monkeypatch.setattr(common, "_HELD", held)
    model = build_model(architecture)
    rows = [e.chosen for e in examples(model, toy(2), PLAIN, max_length=1000)]
    weights = model.blocks[0]
    for parameter in model.network.parameters():
        parameter.requires_grad_(False)
    trained = next(p for p in weights.parameters() if p.dim() == 2)
    trained.requires_grad_(True)
    found = answer_logprobs(model, collate(model, rows)).sum(1)
    found.pow(2).sum().backward()
    slope, trained.grad = trained.grad, None
    expected = []
    for row in rows:
        log_p = torch.log_softmax(
            model.network(**model.batch([row["input_ids"]])).logits[0].float(), -1
        )
        answer = [i for i, label in enumerate(row["labels"]) if label != IGNORED]
        assert row["labels"][answer[0] :] == row["input_ids"][answer[0] :]
        assert row["labels"][-1] == model.tokenizer.eos_token_id
        expected.append(sum(log_p[i - 1, row["input_ids"][i]] for i in answer))
    torch.stack(expected).pow(2).sum().backward()
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(slope, trained.grad, rtol=1e-3, atol=1e-4)


def test_a_head_that_is_trained_has_its_gradient() -> None:
    model = build_model("llama", tie_word_embeddings=False)
    rows = [e.chosen for e in examples(model, toy(1), PLAIN)]
    model.network.lm_head.weight.requires_grad_(True)
    answer_logprobs(model, collate(model, rows)).sum().backward()
    assert float(model.network.lm_head.weight.grad.abs().sum()) > 0


def test_the_order_of_learning() -> None:
    lengths = list(range(1, 24))
    options = SftOptions(batch=4, epochs=2)
    order = common.schedule(lengths, options)
    assert order == common.schedule(lengths, options)
    assert len(order) == 12 * 4
    assert len(set(order[:20])) == 20
    spread = [max(order[i : i + 4]) - min(order[i : i + 4]) for i in range(0, 40, 4)]
    assert max(spread) < 8
    assert len(common.schedule(lengths[:2], SftOptions(batch=8, steps=3))) == 6


def test_dpos_loss_is_trls(model: Model, tmp_path: Path) -> None:
    import datasets
    import trl

    from langsteer.tuning.dpo import _Dpo, _rows

    options = DpoOptions(beta=0.3, half=False)
    known = examples(model, toy(3), PLAIN)
    tuned = adapted(model, options)
    for name, parameter in tuned.network.named_parameters():
        if "lora_B" in name:  # an adapter that does something, as an SFT's
            torch.nn.init.normal_(parameter, std=0.05)
    ours = job.Job(tuned, known, [], (), options)
    ours.start = _Dpo().begin(ours)
    prompts = [str(prompt_of(model, PLAIN, e.record)) for e in known]
    texts = [
        {"prompt": p, "chosen": e.record.chosen, "rejected": e.record.rejected}
        for p, e in zip(prompts, known, strict=True)
    ]
    trainer = trl.DPOTrainer(
        model=tuned.network,
        args=trl.DPOConfig(
            str(tmp_path), beta=0.3, bf16=False, use_cpu=True, report_to=[], disable_dropout=True
        ),
        train_dataset=datasets.Dataset.from_list(texts),
        processing_class=model.tokenizer,
    )
    for name, parameter in tuned.network.named_parameters():
        if "lora_B.default" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    batch = trainer.data_collator([trainer.train_dataset[i] for i in (0, 4, 5)])
    theirs = trainer.compute_loss(trainer.model, batch)
    found = _Dpo().loss(ours, _Dpo().inputs(ours, [0, 4, 5]))
    assert len(_rows(known)) == 12
    assert float(found) == pytest.approx(float(theirs), rel=1e-4)
    assert abs(float(found) - math.log(2)) > 1e-3


# --- SFT


def test_sft_learns_and_its_adapter_opens(
    model: Model, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {k: v.clone() for k, v in model.network.state_dict().items()}
    last: list[torch.Tensor] = []

    def watched(tuned: Model, into: Path) -> None:
        last.append(logits(tuned))
        save_adapter(tuned, into)

    monkeypatch.setattr(job, "save_adapter", watched)
    result = sft(model, toy(), tmp_path / "sft", options=SftOptions(**FAST))
    assert all(torch.equal(v, before[k]) for k, v in model.network.state_dict().items())
    for tag in ("all", "en", "sw"):
        assert result.after[tag]["loss"] < result.before[tag]["loss"] / 2
    assert result.records == {"all": 16, "en": 8, "sw": 8}
    assert result.held_out == {"all": 4, "en": 2, "sw": 2}
    assert (result.steps, result.too_long, result.kept) == (40, 0, False)
    opened = load_model(tmp_path / "sft")
    torch.testing.assert_close(logits(opened), last[0], rtol=0, atol=0)
    assert not torch.equal(last[0], logits(model))
    names = {path.name for path in (tmp_path / "sft").iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "langsteer.json"} <= names
    assert "README.md" not in names
    assert [path.name for path in tmp_path.iterdir()] == ["sft"]
    config = json.loads((tmp_path / "sft" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(folder)
    assert opened.tokenizer.chat_template == PLAIN
    assert getattr(model.tokenizer, "chat_template", None) is None


def test_what_was_measured_is_what_the_opened_adapter_gives(model: Model, tmp_path: Path) -> None:
    options = SftOptions(**FAST | {"steps": 5})
    result = sft(model, toy(), tmp_path / "sft", options=options)
    opened = load_model(tmp_path / "sft")
    held = examples(opened, toy().split(0.2)[1], template_of(opened))
    total = tokens = 0.0
    for row in (e.chosen for e in held):
        with torch.no_grad():
            total -= float(answer_logprobs(opened, collate(opened, [row])).sum())
        tokens += sum(label != IGNORED for label in row["labels"])
    assert result.after["all"]["loss"] == pytest.approx(total / tokens, rel=1e-4)


def test_a_prompt_gives_no_loss(model: Model) -> None:
    """The gradient at the final states of tokens that no answer token follows is nothing."""
    rows = [e.chosen for e in examples(model, toy(2), PLAIN)]
    inputs = collate(model, rows)
    kept: list[torch.Tensor] = []
    assert model.norm is not None
    hook = model.norm.register_forward_hook(lambda module, args, output: kept.append(output))
    found = answer_logprobs(model, inputs)
    hook.remove()
    (slopes,) = torch.autograd.grad(found.sum(), kept[0])
    answers = inputs["labels"] != IGNORED
    follows = torch.nn.functional.pad(answers[:, 1:], (0, 1))
    assert bool((slopes[~follows] == 0).all())
    assert bool((slopes[follows].abs().sum(-1) > 0).all())
    assert bool((found[~answers] == 0).all())


def test_a_stopped_run_goes_on(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from langsteer.tuning.sft import _Sft

    options = SftOptions(**FAST | {"steps": 10, "dropout": 0.1})
    whole = sft(model, toy(), tmp_path / "whole", options=options)
    loss, steps = _Sft.loss, 0

    def interrupted(*args: Any) -> torch.Tensor:
        nonlocal steps
        steps += 1
        if steps == 8:
            raise KeyboardInterrupt
        return loss(*args)

    torch.rand(3)  # what was drawn before does not matter
    monkeypatch.setattr(_Sft, "loss", interrupted)
    with pytest.raises(KeyboardInterrupt):
        sft(model, toy(), tmp_path / "parts", options=options)
    assert not (tmp_path / "parts").exists()
    work = tmp_path / "parts.part"
    assert (work / "checkpoints" / "checkpoint-6").is_dir()
    shutil.copytree(work, tmp_path / "again.part")
    steps = 100
    parts = sft(model, toy(), tmp_path / "parts", options=options)
    assert steps == 104
    assert not work.exists()
    assert parts.after["all"] == pytest.approx(whole.after["all"], rel=1e-4)
    assert parts.before == whole.before
    one, other = (load_model(tmp_path / name) for name in ("whole", "parts"))
    torch.testing.assert_close(logits(one), logits(other), atol=1e-4, rtol=1e-4)
    # with other options it begins anew
    steps = 100
    sft(model, toy(), tmp_path / "again", options=replace(options, rate=0.01))
    assert steps == 110


def test_what_is_there_is_kept(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = SftOptions(**FAST | {"steps": 2})
    first = sft(model, toy(), tmp_path / "sft", options=options)
    again = sft(model, toy(), tmp_path / "sft", options=options)
    assert again == replace(first, kept=True)
    with pytest.raises(TuneError, match="other options: name another folder"):
        sft(model, toy(), tmp_path / "sft", options=replace(options, seed=1))
    with pytest.raises(TuneError, match="other options: name another folder"):
        sft(model, toy(9), tmp_path / "sft", options=options)
    third = sft(model, toy(), tmp_path / "sft", options=replace(options, seed=1), overwrite=True)
    assert third.after != first.after
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("all of it")
    for overwrite in (False, True):
        with pytest.raises(TuneError, match="is there and is no tuned model"):
            sft(model, toy(), tmp_path / "mine", options=options, overwrite=overwrite)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine", "sft"]


def test_an_adapter_is_tuned_further(model: Model, folder: Path, tmp_path: Path) -> None:
    options = SftOptions(**FAST | {"steps": 3, "rank": 4})
    sft(model, toy(), tmp_path / "one", options=options)
    opened = load_model(tmp_path / "one")
    start = logits(opened)
    further = SftOptions(**FAST | {"steps": 3})
    result = sft(opened, toy(), tmp_path / "two", options=further)
    assert torch.equal(logits(opened), start)
    config = json.loads((tmp_path / "two" / "adapter_config.json").read_text())
    assert (config["r"], config["base_model_name_or_path"]) == (4, str(folder))
    assert not torch.equal(logits(load_model(tmp_path / "two")), start)
    assert result.model == str(tmp_path / "one")
    with pytest.raises(TuneError, match="has rank 4, not 2"):
        sft(opened, toy(), tmp_path / "three", options=replace(further, rank=2))


def test_long_records_are_left_out(model: Model, tmp_path: Path) -> None:
    long = Record("long", "en", (("user", "x" * 300),), "yes")
    records = Instructions((*toy().records, long), "toy")
    options = SftOptions(**FAST | {"steps": 1, "max_length": 100})
    result = sft(model, records, tmp_path / "sft", options=options)
    assert (result.too_long, result.records["all"] + result.held_out["all"]) == (1, 20)
    with pytest.raises(TuneError, match="no record of toy has at most 9 tokens"):
        sft(model, toy(), tmp_path / "none", options=replace(options, max_length=9))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate": 0.0}, "rate must be a number above 0, not 0.0"),
        ({"batch": 0}, "batch must be"),
        ({"epochs": math.nan}, "epochs must be"),
        ({"rank": -1}, "rank must be"),
        ({"held_out": 1.0}, "share of records"),
    ],
)
def test_bad_options(options: Any, message: str, model: Model, tmp_path: Path) -> None:
    with pytest.raises(TuneError, match=message):
        sft(model, toy(), tmp_path / "sft", options=SftOptions(**options))
    assert not list(tmp_path.iterdir())


def test_missing_libraries(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "trl", None)
    with pytest.raises(MissingExtraError, match=r"fine-tuning needs trl: .*langsteer\[train\]"):
        sft(model, toy(), tmp_path / "sft")


# --- DPO


def test_dpo_prefers_the_chosen_answers(model: Model, folder: Path, tmp_path: Path) -> None:
    sft(model, toy(), tmp_path / "sft", options=SftOptions(**FAST | {"steps": 10}))
    reference = load_model(tmp_path / "sft")
    options = DpoOptions(**FAST | {"steps": 20, "rate": 0.01})
    result = dpo(reference, toy(), tmp_path / "dpo", options=options)
    assert result.before["all"]["loss"] == pytest.approx(math.log(2))
    assert result.before["all"]["reward_accuracy"] == 0.5
    assert result.after["all"]["loss"] < 0.5
    assert result.after["all"]["reward_accuracy"] == 1.0
    assert result.after["sw"]["margin"] > 1
    opened = load_model(tmp_path / "dpo")
    config = json.loads((tmp_path / "dpo" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(folder)
    assert not (tmp_path / "dpo" / "ref").exists()
    (one,) = examples(opened, Instructions(toy().records[:1], "toy"), PLAIN)
    assert one.rejected is not None
    gap = []
    for tuned in (reference, opened):
        with torch.no_grad():
            found = answer_logprobs(tuned, collate(tuned, [one.chosen, one.rejected])).sum(1)
        gap.append(float(found[0] - found[1]))
    assert gap[1] > gap[0] + 1
    with pytest.raises(TuneError, match="the record '0' in en has no rejected answer"):
        dpo(model, Instructions((replace(toy().records[0], rejected=None),), "x"), tmp_path / "x")


def test_a_stopped_dpo_goes_on(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its reference is that of the beginning."""
    from langsteer.tuning.dpo import _Dpo

    sft(model, toy(), tmp_path / "sft", options=SftOptions(**FAST | {"steps": 3}))
    reference = load_model(tmp_path / "sft")
    options = DpoOptions(**FAST | {"steps": 10})
    whole = dpo(reference, toy(), tmp_path / "whole", options=options)
    loss, steps = _Dpo.loss, 0

    def interrupted(*args: Any) -> torch.Tensor:
        nonlocal steps
        steps += 1
        if steps == 8:
            raise KeyboardInterrupt
        return loss(*args)

    monkeypatch.setattr(_Dpo, "loss", interrupted)
    with pytest.raises(KeyboardInterrupt):
        dpo(reference, toy(), tmp_path / "parts", options=options)
    steps = 100
    parts = dpo(load_model(tmp_path / "sft"), toy(), tmp_path / "parts", options=options)
    assert steps == 104
    assert parts.after["all"] == pytest.approx(whole.after["all"], rel=1e-3)


# --- steering


def swahili(model: Model, **changes: Any) -> SteeringVector:
    return make_vector(model, language="sw", values=torch.randn(model.hidden_size) * 3, **changes)


def test_steering_is_on_while_it_learns(model: Model, tmp_path: Path) -> None:
    torch.manual_seed(3)
    vector = swahili(model)
    options = SftOptions(**FAST | {"steps": 20})
    plain = sft(model, toy(), tmp_path / "plain", options=options)
    result = sft(model, toy(), tmp_path / "steered", options=options, vectors=[vector])
    assert result.before["en"] == plain.before["en"]
    assert result.before["sw"] != plain.before["sw"]
    tuned = load_model(tmp_path / "steered")
    assert not torch.equal(logits(tuned), logits(load_model(tmp_path / "plain")))
    noted = json.loads((tmp_path / "steered" / "langsteer.json").read_text())["result"]["vectors"]
    assert noted[0] | {"language": "sw", "layer": vector.layer} == noted[0]
    saved = SteeringVector.load(tmp_path / "steered" / noted[0]["file"])
    assert torch.equal(saved.values, vector.values)
    # the vector gives the loss that was measured, its absence another
    held = examples(tuned, toy().split(0.2)[1].only("sw"), PLAIN, [vector])
    rows = [e.chosen for e in held]
    tokens = sum(label != IGNORED for row in rows for label in row["labels"])
    with torch.no_grad():
        on = -float(answer_logprobs(tuned, collate(tuned, rows), [vector]).sum()) / tokens
        off = -float(answer_logprobs(tuned, collate(tuned, rows)).sum()) / tokens
    assert on == pytest.approx(result.after["sw"]["loss"], rel=1e-4)
    assert abs(on - off) > 1e-3


@pytest.mark.parametrize(
    ("positions", "text"),
    [
        ("source", "sw 0?"),
        ("prompt", "### Instruction\nsw 0?\n\n### Response\n"),
        ("generated", "ndio<eos>"),
        ("all", "### Instruction\nsw 0?\n\n### Response\nndio<eos>"),
    ],
)
def test_which_tokens_are_steered(positions: str, text: str, model: Model) -> None:
    records = Instructions(toy(1).records, "toy")
    vector = swahili(model, positions=positions)
    english, other = examples(model, records, PLAIN, [vector])
    assert "steered" not in english.chosen
    row = other.chosen
    found = [i for i, on in zip(row["input_ids"], row["steered"], strict=True) if on]
    assert model.tokenizer.decode(found) == text
    # as by hand, in a batch with rows that are not steered
    rows = [english.chosen, row]
    with torch.no_grad():
        both = answer_logprobs(model, collate(model, rows), [vector]).sum(1)
        plain = answer_logprobs(model, collate(model, rows)).sum(1)
        ids = model.batch([row["input_ids"]])
        mask = torch.tensor([row["steered"]])
        with vector.applied(model, positions="source", mask=mask):
            log_p = torch.log_softmax(model.network(**ids).logits[0], -1)
    answer = [i for i, label in enumerate(row["labels"]) if label != IGNORED]
    expected = sum(float(log_p[i - 1, row["input_ids"][i]]) for i in answer)
    assert float(both[1]) == pytest.approx(expected, rel=1e-4)
    assert float(both[0]) == pytest.approx(float(plain[0]), rel=1e-5)
    assert abs(float(both[1] - plain[1])) > 1e-3


def test_vectors_that_cannot_be_used(model: Model, tmp_path: Path) -> None:
    options = SftOptions(**FAST | {"steps": 1})
    vector = swahili(model)
    with pytest.raises(TuneError, match=r"no records in 'et' to steer: toy has en, sw"):
        sft(model, toy(), tmp_path / "x", vectors=[replace(vector, language="et")])
    with pytest.raises(TuneError, match="two vectors for 'sw'"):
        sft(model, toy(), tmp_path / "x", vectors=[vector, vector])
    sft(model, toy(), tmp_path / "sft", options=options)
    tuned = load_model(tmp_path / "sft")
    with pytest.raises(VectorError, match="other weights"):
        sft(tuned, toy(), tmp_path / "x", options=options, vectors=[vector])
    sft(tuned, toy(), tmp_path / "x", options=options, vectors=[vector.carried_to(tuned)])


def test_a_vector_is_carried_to_a_tuned_model(model: Model, tmp_path: Path) -> None:
    sft(model, toy(), tmp_path / "sft", options=SftOptions(**FAST | {"steps": 1}))
    tuned = load_model(tmp_path / "sft")
    vector = swahili(model)
    carried = vector.carried_to(tuned)
    carried.check_fits(tuned)
    assert torch.equal(carried.values, vector.values)
    assert carried.model["carried_from"] == vector.model
    assert carried.carried_to(tuned) is carried
    back = SteeringVector.load(carried.save(tmp_path / "v"), tuned).carried_to(model)
    assert back.model["fingerprint"] == model.fingerprint
    assert back.model["carried_from"] == vector.model
    with pytest.raises(VectorError, match="layers is 4 there and 3 here"):
        vector.carried_to(build_model("llama", num_hidden_layers=3, **SIZE))
    with pytest.raises(VectorError, match="vocab size is 128 there and 130 here"):
        vector.carried_to(build_model("llama", vocab_size=130, **SIZE))
    with pytest.raises(VectorError, match="hidden size is 32 there and 64 here"):
        vector.carried_to(build_model("llama", hidden_size=64, **SIZE))


# --- adapters and their bases


def test_an_adapter_of_a_named_model(gemma: Model, tmp_path: Path) -> None:
    tuned = adapted(gemma, SftOptions(rank=2))
    for name, parameter in tuned.network.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.01)
    save_adapter(tuned, tmp_path / "a")
    config = json.loads((tmp_path / "a" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "gemma-3-270m"
    opened = load_model(tmp_path / "a")
    assert opened.tokenizer.eos_token == "<eos>"
    tuned.network.eval()
    assert torch.equal(logits(opened, "Habari"), logits(tuned, "Habari"))
    assert not torch.equal(logits(opened, "Habari"), logits(gemma, "Habari"))


def test_adapters_that_cannot_be_opened(model: Model, folder: Path, tmp_path: Path) -> None:
    save_adapter(adapted(model, SftOptions()), tmp_path / "a")
    file = tmp_path / "a" / "adapter_config.json"
    config = json.loads(file.read_text())
    for base, message in (
        ("none.gguf", "needs its base model: there is no file none.gguf"),
        (None, "does not say which model"),
        (str(tmp_path / "a"), "is an adapter itself"),
    ):
        file.write_text(json.dumps(config | {"base_model_name_or_path": base}))
        with pytest.raises(ModelError, match=message):
            load_model(tmp_path / "a")


def test_another_makers_adapter_opens_with_its_bases_tokeniser(
    model: Model, folder: Path, tmp_path: Path
) -> None:
    import peft

    config = peft.LoraConfig(target_modules=["q_proj"], init_lora_weights=False)
    network = peft.get_peft_model(load_model(folder).network, config)
    network.save_pretrained(tmp_path / "a")
    opened = load_model(tmp_path / "a")
    assert torch.equal(logits(opened), logits(wrap_model(network, model.tokenizer)))


# --- the command


def rows(path: Path) -> Path:
    plain = [
        {"id": r.id, "language": r.language, "instruction": r.instruction}
        | {"chosen": r.chosen, "rejected": r.rejected}
        for r in toy()
    ]
    return lines(path, *plain)


def test_by_command(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = rows(tmp_path / "a.jsonl"), tmp_path / "sft"
    more = ["-d", str(data), "--rate", "0.01", "--epochs", "2", "--held-out", "0.2"]
    code, text, err = run(capsys, "tune", "sft", str(folder), "-o", str(out), *more)
    assert code == 0, err
    assert "Swahili" in text
    assert "→" in text
    code, text, err = run(capsys, "tune", "sft", str(folder), "-o", str(out), *more, "--json")
    assert code == 0, err
    found = json.loads(text)
    assert (found["kept"], found["records"]["all"], found["steps"]) == (True, 16, 4)
    code, text, err = run(capsys, "tune", "dpo", str(out), "-o", str(tmp_path / "dpo"), *more)
    assert code == 0, err
    assert "likelier" in text
    code, text, err = run(
        capsys, "tune", "sft", str(folder), "-o", str(tmp_path / "sw"), *more, "-l", "sw", "--json"
    )
    assert code == 0, err
    assert json.loads(text)["records"] == {"all": 8, "sw": 8}
    prompt = ["generate", "sw 1?", "-m", str(tmp_path / "dpo"), "--chat", "--max-new-tokens", "2"]
    vector = swahili(load_model(folder)).save(tmp_path / "v.safetensors")
    code, _, err = run(capsys, *prompt, "-v", str(vector))
    assert "other weights" in err
    code, text, err = run(capsys, *prompt, "-v", str(vector), "--carry", "--json")
    assert code == 0, err
    assert json.loads(text)["prompt"] == "### Instruction\nsw 1?\n\n### Response\n"
    code, text, err = run(
        capsys, "tune", "sft", str(folder), "-o", str(tmp_path / "on"), *more, "-v", str(vector)
    )
    assert code == 0, err
    assert "steered in sw" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-d", "none.jsonl"], "cannot read none.jsonl"),
        (["-d", "{data}", "-l", "et"], "a.jsonl has no records in 'et'"),
        (["-d", "{data}", "--rate", "0"], "rate must be a number above 0"),
        (["-d", "{data}", "--template", "odd"], "plain, chat or a Jinja file"),
        (["-d", "{data}", "-v", "none"], "there is no vector file none"),
        (["-d", "{data}", "-o", "{data}/x"], "cannot write"),
        (["-l", "fi"], "the built-in instructions are not in 'fi'"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str],
    message: str,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = rows(tmp_path / "a.jsonl")
    given = [argument.format(data=data) for argument in arguments]
    out = [] if "-o" in given else ["-o", str(tmp_path / "out")]
    code, _, err = run(capsys, "tune", "sft", str(folder), *out, *given)
    assert code == 1
    assert err.count("\n") == 1, err
    assert message in err
