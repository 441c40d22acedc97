"""Steps that are taken ahead, and documents laid out for them: nobody can tell, but for the time."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

import valuegrad as vg
from valuegrad import gpt, optim
from valuegrad.gpt import ahead, batches, compiled
from valuegrad.gpt.batches import Documents
from valuegrad.gpt.compiled import Steps
from valuegrad.gpt.tokenizer import Tokenizer

needs_programs = pytest.mark.skipif(not compiled.built(), reason="the modules that run programs were not built")
DOCUMENTS = ["anna", "bob", "carla", "dora", "emil", "fritz", "gustav", "hanna", "ida", "jakob", "klara", "al"]
pytestmark = pytest.mark.usefixtures("kept_code")
SMALL = gpt.ModelSettings(n_embd=4, n_head=2, block_size=8)


def trainer(steps: int = 40, documents: Any = DOCUMENTS, **settings: Any) -> gpt.Trainer:
    settings = {"eval_fraction": 0.2, **settings}
    return gpt.Trainer(documents, SMALL, gpt.TrainingSettings(steps=steps, **settings))


@pytest.fixture
def step_by_step(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs in which nothing is taken ahead."""

    def run(made: gpt.Trainer, until: int) -> gpt.Trainer:
        with monkeypatch.context() as patch:
            patch.setattr(ahead, "QUICK", 0.0)
            for _ in range(until):
                made.train_step()
        return made

    return run


def weights(run: gpt.Trainer) -> bytes:
    return np.array([w.data for w in run.model.parameters()]).tobytes()


def memory(run: gpt.Trainer) -> list[bytes]:
    return [array.tobytes() for array in run.optimizer.memory.values()]


# ---------------------------------------------------------------------------------------------------- ahead
@needs_programs
@pytest.mark.parametrize("batch", [1, 3])
def test_how_many_steps_are_taken_ahead_changes_nothing(step_by_step: Any, batch: int) -> None:
    run, other = trainer(batch=batch), step_by_step(trainer(batch=batch), 40)
    list(run)
    assert run.losses == other.losses
    assert weights(run) == weights(other)
    assert memory(run) == memory(other)


@needs_programs
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("until", [1, 2, 6, 20, 31, 39])
def test_the_model_is_that_of_the_moment(step_by_step: Any, until: int, dtype: str) -> None:
    run, other = trainer(dtype=dtype), step_by_step(trainer(dtype=dtype), until)
    for _ in range(until):
        run.train_step()
    assert weights(run) == weights(other)
    assert memory(run) == memory(other)
    assert run.optimizer.steps == until


@needs_programs
def test_a_look_at_the_model_disturbs_no_step(step_by_step: Any) -> None:
    run, other = trainer(batch=2), step_by_step(trainer(batch=2), 40)
    for report in run:
        if report.step in (5, 6, 17, 29):
            fresh = step_by_step(trainer(batch=2), report.step)
            assert run.evaluate() == fresh.evaluate()
            assert run.samples(2) == fresh.samples(2)
            if report.step != 6:
                saved, expected = run.checkpoint(), fresh.checkpoint()
                assert saved.step == report.step
                assert saved.losses.tolist() == expected.losses.tolist()
                for name, array in expected.weights.items():
                    assert saved.weights[name].tobytes() == array.tobytes()
    assert run.losses == other.losses
    assert weights(run) == weights(other)


@needs_programs
def test_steps_are_gone_over_again_once_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    run = trainer(steps=200)
    for _ in range(70):  # so that the next steps are taken ahead, many in one go
        run.train_step()
    taken = []
    real = Steps.run
    monkeypatch.setattr(Steps, "run", lambda self, plan, *rest: taken.append(len(plan)) or real(self, plan, *rest))
    for _ in range(130):
        run.train_step()
        run.evaluate()
    assert sum(taken) <= 2 * 130


@needs_programs
def test_what_is_changed_counts_from_the_next_step_on() -> None:
    eager, quick = trainer(engine="eager"), trainer()
    for step in range(40):
        for run in (eager, quick):
            run.train_step()
            if step in (9, 23):
                run.model.lm_head.weight[1][0].data += 0.5
                run.optimizer.memory["m"][3] = 0.25
            if step == 30:
                run.optimizer.learning_rate = optim.constant(0.001)
    np.testing.assert_allclose(quick.losses, eager.losses, rtol=0, atol=1e-9)


@needs_programs
@pytest.mark.parametrize("batch", [1, 3])
def test_a_loss_that_is_not_finite_is_met_where_it_is(batch: int) -> None:
    settings: dict[str, Any] = {"optimizer": "sgd", "learning_rate": 1e30, "batch": batch, "schedule": "constant"}
    runs = [trainer(engine=engine, **settings) for engine in ("eager", "compiled")]
    for run in runs:
        with pytest.raises(vg.TrainingError, match="expected a finite number"):
            list(run)
    assert runs[0].step == runs[1].step
    before = weights(runs[1])
    for _ in range(2):
        with pytest.raises(vg.TrainingError, match=f"step {runs[1].step + 1} "):
            runs[1].train_step()
    assert weights(runs[1]) == before
    assert len(runs[1].losses) == runs[1].step


@needs_programs
def test_an_interrupt_leaves_the_run_as_it_was(monkeypatch: pytest.MonkeyPatch, step_by_step: Any) -> None:
    run = trainer(batch=2)
    for _ in range(5):
        run.train_step()
    real = Steps.run

    def interrupted(self: Any, *rest: Any) -> Any:
        real(self, *rest)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Steps, "run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            list(run)
    list(run)
    assert run.losses == step_by_step(trainer(batch=2), 40).losses


@needs_programs
def test_steps_inside_strict_begin_at_the_step_that_was_reported(step_by_step: Any) -> None:
    run = trainer(20)
    for step in range(20):
        if step in (9, 10):
            with vg.strict():
                run.train_step()
        else:
            run.train_step()
    np.testing.assert_allclose(run.losses, step_by_step(trainer(20), 20).losses, rtol=1e-9)


@pytest.mark.parametrize("engine", ["eager", "compiled"])
def test_train_some_stops_where_it_is_told_to(engine: str) -> None:
    run = trainer(20, engine=engine)
    seen: list[int] = []
    for until in (1, 7, 7, 13, 100):
        while reports := run.train_some(until):
            assert reports[-1].step <= until
            seen += [report.step for report in reports]
        assert run.step == min(until, 20)
    assert seen == list(range(1, 21))
    assert run.train_some() == []
    with pytest.raises(vg.ValuegradError, match="until"):
        run.train_some("all")  # type: ignore[arg-type]


def test_train_some_reports_what_train_step_does() -> None:
    run, other = trainer(20), trainer(20)
    found: list[Any] = []
    while reports := run.train_some():
        found += reports
    assert found == list(other)


@needs_programs
def test_lengths_get_finer_with_the_documents_and_not_with_time(
    monkeypatch: pytest.MonkeyPatch, step_by_step: Any
) -> None:
    monkeypatch.setattr(batches, "FINENESS", ((0, 8), (10, 4), (31, 2)))
    run, other = trainer(batch=2), step_by_step(trainer(batch=2), 40)
    lengths = []
    real = Steps.run

    def noted(self: Any, plan: Any, *rest: Any) -> Any:
        lengths.extend([[plan.lengths[k] for k in plan.program[a:b]] for a, b in zip(plan.first, plan.first[1:])])
        return real(self, plan, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Steps, "run", noted)
        list(run)
    for step, found in enumerate(lengths):
        multiple = 8 if 2 * step < 10 else 4 if 2 * step < 31 else 2
        assert all(length % multiple == 0 for length in found)
    assert {length for found in lengths for length in found} == {8, 6}
    assert run.losses == other.losses
    resumed = trainer(batch=2)
    for _ in range(13):
        resumed.train_step()
    resumed = gpt.Trainer.resume(resumed.checkpoint(), DOCUMENTS)
    list(resumed)
    assert resumed.losses == run.losses


def test_there_are_few_lengths_at_first() -> None:
    assert [len({batches.padded(n, 16, batches.fineness(seen)[0]) for n in range(1, 17)}) for seen in (0, 10**9)] == [
        1,
        8,
    ]


# ------------------------------------------------------------------------------------------------- documents
def tokens_of(documents: Documents, i: int) -> list[int]:
    return documents.tokens[i, : documents.positions[i] + 1].tolist()


@pytest.mark.parametrize("most", [1, 2, 5, 30])
def test_texts_become_the_tokens_that_the_tokenizer_gives(most: int) -> None:
    texts = ["abc", "\u00e9t\u00e9", "a" * 40, "\U0001f600b", "\ud800", "x", "bcbcb"]
    tokenizer = Tokenizer.of(texts)
    documents = Documents.of_texts(texts, tokenizer, most)
    for i, text in enumerate(texts):
        assert tokens_of(documents, i) == tokenizer.document(text, most)


def test_an_alphabet_may_have_any_order() -> None:
    tokenizer = Tokenizer("zab")
    documents = Documents.of_texts(["abz", "z"], tokenizer, 8)
    assert [tokens_of(documents, i) for i in range(2)] == [tokenizer.document("abz"), tokenizer.document("z")]


@needs_programs
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("batch", [1, 2, 7, 16, 37, 3000])
def test_every_document_of_a_batch_is_in_one_block(batch: int, dtype: str) -> None:
    rng = random.Random(batch)
    texts = ["".join(rng.choices("abcdef", k=rng.randint(1, 20))) for _ in range(50)]
    tokenizer = Tokenizer.of(texts)
    documents = Documents.of_texts(texts, tokenizer, 16)
    which = np.arange(3 * batch).reshape(3, batch) % 50
    plan = documents.plan(which, dtype)
    assert len(plan) == 3
    for step in range(3):
        found, longest = [], []
        for block in range(plan.first[step], plan.first[step + 1]):
            length, lanes = plan.lengths[plan.program[block]], plan.lanes[block]
            size = (length + 2) * lanes
            numbers = plan.numbers[plan.begins[block] :][:size].reshape(length + 2, lanes).astype(int)
            for column in numbers.T.tolist():
                count = column.pop()
                found.append(column[: count + 1])
                assert not any(column[count + 1 :])
            longest.append(length)
        assert sorted(found) == sorted(tokenizer.document(texts[i], 16) for i in which[step])
        assert longest == sorted(longest, reverse=True)
        assert len(longest) <= batches.MOST_BLOCKS
        assert plan.tokens[step] == sum(len(document) - 1 for document in found)


@needs_programs
def test_documents_of_one_length_stay_in_their_order() -> None:
    texts = ["ab", "c", "ba", "abc", "a"]
    documents = Documents.of_texts(texts, Tokenizer.of(texts), 8)
    plan = documents.plan(np.array([[4, 2, 1, 3, 0]]), "float64", finest=1)
    first, last = plan.numbers.reshape(-1, 5)[[1, -1]].astype(int).tolist()
    assert last == [4, 3, 3, 2, 2]
    assert first == [documents.tokens[i, 1] for i in (3, 2, 0, 4, 1)]


@needs_programs
@pytest.mark.parametrize("which", [-1, 2])
def test_a_document_that_is_not_there_is_refused(which: int) -> None:
    documents = Documents.of_texts(["ab", "ba"], Tokenizer("ab"), 8)
    with pytest.raises(IndexError, match=f"document {which}; expected 0 to 1"):
        documents.plan(np.array([[0, which]]), "float64")


@needs_programs
@pytest.mark.parametrize("vocabulary", [200, 300, 70_000])
def test_vocabularies_of_all_sizes_are_laid_out(vocabulary: int) -> None:
    documents = Documents.of_tokens([[0, vocabulary - 1, 0]], most=4, vocabulary=vocabulary)
    assert documents.plan(np.array([[0]]), "float32", finest=1).numbers.tolist() == [0.0, vocabulary - 1, 0.0, 2.0]


@needs_programs
def test_a_part_of_a_plan_is_the_plan_of_those_steps() -> None:
    documents = Documents.of_texts(DOCUMENTS, Tokenizer.of(DOCUMENTS), 8)
    which = np.arange(60).reshape(6, 10) % len(DOCUMENTS)
    part, plan = documents.plan(which, "float64").part(2, 5), documents.plan(which[2:5], "float64")
    assert len(part) == 3
    assert part.first.tolist() == plan.first.tolist()
    assert part.tokens.tolist() == plan.tokens.tolist()
    assert [part.lengths[k] for k in part.program] == [plan.lengths[k] for k in plan.program]


@needs_programs
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("batch", [8, 9, 17, 33])
def test_batches_of_all_lengths_learn_as_on_values(batch: int, dtype: str) -> None:
    rng = random.Random(batch)
    documents = ["".join(rng.choices("abcdef", k=1 + i % 9)) for i in range(60)]
    steps = 5 if vg.engine == "native" else 2
    eager = trainer(steps, documents, batch=batch, engine="eager")
    quick = trainer(steps, documents, batch=batch, dtype=dtype)
    rtol = 1e-11 if dtype == "float64" else 1e-4
    np.testing.assert_allclose(list(map(_loss, quick)), list(map(_loss, eager)), rtol=rtol)


@needs_programs
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("batch", [4, 9, 16, 23, 40])
def test_halves_of_vectors_change_no_bit(batch: int, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(batch)
    documents = ["".join(rng.choices("abcdef", k=1 + i % 9)) for i in range(60)]
    found = []
    for threads, pays in ((1, True), (3, False), (3, True)):
        monkeypatch.setattr(batches, "halves_pay", lambda pays=pays: pays)
        settings = gpt.TrainingSettings(steps=6, batch=batch, dtype=dtype)
        run = gpt.Trainer(documents, SMALL, settings, threads=threads)
        found.append([list(map(_loss, run)), [value.data for value in run.model.parameters()]])
    assert found[0] == found[1] == found[2]


@needs_programs
@pytest.mark.parametrize(("documents", "width"), [(2, 8), (16, 8), (17, 8), (48, 8), (49, 16), (600, 16), (1600, 32)])
def test_few_documents_are_cut_into_halves_of_vectors_for_threads(
    documents: int, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "halves_pay", lambda: True)
    found = Documents.of_tokens([[0, 0]] * documents, most=1, vocabulary=1)
    plan = found.plan(np.arange(documents)[None], "float32", threads=2)
    assert plan.lanes[0] == min(width, documents)
    assert plan.lanes.sum() == documents


def _loss(report: Any) -> float:
    return float(report.loss)


@needs_programs
def test_tokens_beyond_the_vocabulary_are_refused() -> None:
    model = gpt.GPT(4, SMALL, random.Random(1))
    steps = Steps(model, optim.Adam(model.parameters(), 0.01))
    for token in (-1, 4):
        with pytest.raises(vg.IndexRangeError, match="expected 0 to 3"):
            steps.step([[3, token, 3]], 0.01, 1)


@needs_programs
def test_an_optimiser_that_mixes_parameters_is_refused() -> None:
    class Normalised(optim.SGD):
        def moved(self, data: Any, grads: Any, memory: Any, rate: Any, t: Any) -> Any:
            return super().moved(data, grads / np.sum(grads * grads), memory, rate, t)

    model = gpt.GPT(4, SMALL, random.Random(1))
    with pytest.raises(vg.ValuegradError, match="Normalised"):
        Steps(model, Normalised(model.parameters(), 0.01))
