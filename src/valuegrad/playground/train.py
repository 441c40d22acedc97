"""The page "Train": choose texts and sizes, and watch a GPT learn.

Data structures: a ``TrainSettings`` is what the address has; a ``TrainPage`` the elements of one tab, and the runs that
were started in it.

Where to start reading: ``build``, then ``TrainPage.refresh``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from nicegui import run as nicegui_run
from nicegui import ui

from valuegrad.errors import ValuegradError
from valuegrad.gpt import datasets
from valuegrad.playground import charts, theme, uploads
from valuegrad.playground.runs import Run, Snapshot
from valuegrad.playground.settings import BOUNDS, LABELS, RunSettings, in_words, suited
from valuegrad.playground.state import PageState

__all__ = ["PATH", "TITLE", "TrainSettings", "build"]

PATH = "/train"
TITLE = "Train"

REFRESHED_EVERY = 0.3  # seconds
MOST_PASTED = 200_000  # characters; a browser sends them in one message
SHOWN_WRITINGS = 8

HINTS = {
    "n_embd": "numbers a character",
    "n_head": "ways to look back",
    "n_layer": "blocks in a row",
    "block_size": "characters it can see",
    "learning_rate": "how far a step goes",
    "steps": "how many",
    "batch": "documents a step",
    "seed": "same seed, same run",
}
FIGURES = {
    "Step": "how many are done",
    "Loss": "the mean of the last 50 steps, in nats a token",
    "Held out": "the loss on documents that it does not learn from, in nats a token",
    "Documents/s": "how many it learns from in a second",
}
NEWS = {
    "training": "Training.",
    "paused": "Paused; it goes on where it was.",
    "stopped": "Stopped; what it has learned is kept.",
    "done": "Done: all steps are taken.",
}


@dataclass(frozen=True)
class TrainSettings(RunSettings):
    """What the address of the page has.

    Args:
        run: the name of the run that is shown; "" for none.
        other: the name of the run that it is compared with.
    """

    run: str = ""
    other: str = ""


def build(state: PageState) -> None:
    """Make the page's elements."""
    theme.heading(
        "Train",
        "Teach a small GPT to write. Every one of its weights is a number that remembers how it was used; "
        "each step nudges them all towards a smaller loss.",
    )
    TrainPage(state)


class TrainPage:
    """The elements of one tab.

    Args:
        state: what the tab has.
    """

    def __init__(self, state: PageState) -> None:
        self.state = state
        self.library = state.playground.runs
        self.settings = state.restore(TrainSettings)
        self.runs: list[Run] = []  # of this tab, in the order of their numbers
        self.run = self._restored("run")
        self.other = self._restored("other")
        self._showing = False
        self._seen: Any = None
        self._drawn: Any = None  # which rows there are
        self._cells: list[list[Any]] = []
        self._news: str | None = None
        self._check_data()
        with theme.element("div", "vg-columns vg-train"):
            with theme.element("div", "vg-stack"):
                self._data_card()
                self._settings_card()
            with theme.element("div", "vg-stack"):
                self._run_card()
                self._writings_card()
        self._runs_card()
        self.timer = ui.timer(REFRESHED_EVERY, self.refresh)
        state.on_dark(lambda dark: self.refresh(again=True))
        state.on_leave(self._left)
        self.refresh(again=True)

    # ----------------------------------------------------------------------------------- out of the address
    def _restored(self, which: str) -> Run | None:
        name = self.settings.run if which == "run" else self.settings.other
        run = self.library.get(name) if name else None
        if run is not None and run not in self.runs:
            self.runs.append(run)
        if name and run is None:
            self.state.complaints.append(
                "The run that this address means is not here any more: runs are kept until the playground ends. "
                "Its settings are here; with them the same numbers come again."
            )
            self.settings = replace(self.settings, run="") if which == "run" else replace(self.settings, other="")
        return run

    def _check_data(self) -> None:
        try:
            self.library.data(self.settings.data)
        except ValuegradError as error:
            self.state.complaints.append(str(error))
            self.settings = replace(self.settings, data="names")

    def _remember(self, **changes: Any) -> None:
        self.settings = replace(self.settings, **changes)
        self.state.remember(self.settings)

    # -------------------------------------------------------------------------------------------- the texts
    def _data_card(self) -> None:
        with theme.card("Texts to learn from"):
            self.data = ui.select(self._choices(), value=self.settings.data, label="Data set")
            self.data.props("outlined dense options-dense").classes("vg-wide").on_value_change(self._data_chosen)
            self.about = theme.text("", "p", "vg-note")
            with ui.expansion("Your own text, one document a line").classes("vg-wide vg-expansion"):
                self.pasted = ui.textarea("Paste a text").props(
                    f"outlined dense rows=5 maxlength={MOST_PASTED} debounce=400"
                )
                self.pasted.classes("vg-wide")
                self.text_status = theme.Status()
                with theme.element("div", "vg-row"):
                    theme.button("Use this text", self._paste)
                    theme.file_button("Upload a text file", uploads.MOST_TEXT, self._upload, self.text_status)
                theme.text(
                    f"UTF-8, at most {uploads.MOST_TEXT:,} bytes. It stays in this computer's memory.", "p", "vg-note"
                )
        self._describe()

    def _choices(self) -> dict[str, str]:
        choices = {name: f"{name}: {datasets.describe(name).description}" for name in datasets.names()}
        if self.settings.data not in choices:
            choices[self.settings.data] = f"your text: {self.library.data(self.settings.data).name}"
        return choices

    def _describe(self) -> None:
        data = self.library.data(self.settings.data)
        some = ", ".join(document[:24] for document in data.documents[:3])
        self.about.text = f"{len(data.documents):,} documents, {len(data.alphabet)} different characters: {some}" + (
            " …" if len(data.documents) > 3 else ""
        )

    def _data_chosen(self, event: Any) -> None:
        if event.value is None or event.value == self.settings.data:
            return
        changes: dict[str, Any] = {"data": event.value}
        if event.value in datasets.names():
            changes |= suited(event.value)
        self._remember(**changes)
        self._show_settings()
        self._describe()

    def _paste(self) -> None:
        text = self.pasted.value or ""
        try:
            if len(text) >= MOST_PASTED:
                self.text_status.wrong(
                    f"The field is full at {MOST_PASTED:,} characters, so the end may be missing: upload it as a file."
                )
                return
            self._take(uploads.read_text(text.encode("utf-8", "replace"), "the pasted text"))
        except ValuegradError as error:
            self.text_status.wrong(error)

    def _upload(self, name: str, data: bytes) -> None:
        self._take(uploads.read_text(data, name))

    def _take(self, data: datasets.Dataset) -> None:
        self._remember(data=self.library.keep_text(data))
        self.data.set_options(self._choices(), value=self.settings.data)
        self._describe()
        self.text_status.say(f"{len(data.documents):,} documents are ready to be learned from.", "good")

    # ----------------------------------------------------------------------------------------- the settings
    def _settings_card(self) -> None:
        self.fields: dict[str, ui.number] = {}
        with theme.card("Model and training"):
            with theme.element("div", "vg-grid"):
                for name, label in LABELS.items():
                    field = ui.number(label, value=getattr(self.settings, name))
                    step = "any" if name == "learning_rate" else "1"
                    field.props(f'outlined dense step="{step}" hint="{HINTS[name]}"')
                    field.on_value_change(self._changed)
                    self.fields[name] = field
            self.settings_status = theme.Status()
            with theme.element("div", "vg-row"):
                self.train_button = theme.button("Train", self._train, main=True)
                theme.text("begins a new run", "span", "vg-note")

    def _show_settings(self) -> None:
        self._showing = True  # what the fields hear of now is no wish of the person's
        for name, field in self.fields.items():
            field.value = getattr(self.settings, name)
        self._showing = False
        self._changed()

    def _changed(self) -> None:
        """The fields have changed: into the address with them, or say what is wrong."""
        if self._showing:
            return
        try:
            given = {name: self._number(name, field.value) for name, field in self.fields.items()}
            self._remember(**given)
            self.settings.check_work(self.library.data(self.settings.data).documents)
            self.settings_status.say("")
        except ValuegradError as error:
            self.settings_status.wrong(in_words(str(error)))

    @staticmethod
    def _number(name: str, value: Any) -> Any:
        """What a field has, as a setting: the browser knows no whole numbers."""
        if (
            isinstance(value, float)
            and name != "learning_rate"
            and value.is_integer()
            and abs(value) <= BOUNDS["seed"][1]
        ):
            return int(value)
        return value

    # ---------------------------------------------------------------------------------------------- the run
    def _run_card(self) -> None:
        with theme.card("This run") as self.run_title:
            self.status = theme.Status("Nothing is trained yet: press Train.")
            with theme.element("div", "vg-row"):
                self.pause_button = theme.button("Pause", self._pause)
                self.resume_button = theme.button("Resume", self._resume)
                self.stop_button = theme.button("Stop", self._stop)
            self.progress = ui.linear_progress(0.0, show_value=False, size="8px").props("rounded instant-feedback")
            self.progress.props('aria-label="Steps taken"')
            self.figures = theme.element("dl", "vg-figures")
            self.figure: dict[str, Any] = {}
            with self.figures:
                for name, what in FIGURES.items():
                    with theme.element("div"):
                        theme.text(name, "dt").props(f'title="{what}"')
                        self.figure[name] = theme.text("–", "dd")
            self.chart = ui.echart(charts.losses([], self.state.dark)).classes("vg-chart").props('role="img"')
            with theme.element("div", "vg-row"):
                self.save_button = theme.button("Save checkpoint", self._save)
                theme.file_button("Load checkpoint", uploads.MOST_BYTES, self._load, self.status)
                self.write_button = theme.button("Let it write", lambda: self._go_to("/generate"))
                self.inside_button = theme.button("Look inside", lambda: self._go_to("/inside"))

    def _writings_card(self) -> None:
        with theme.card("What it writes as it learns"):
            with theme.element("table", "vg-table vg-writings") as self.writings:
                pass
            self.no_writings = theme.text("Its texts come here, twenty times in a run.", "p", "vg-note")

    def _runs_card(self) -> None:
        self.runs_card = theme.element("div")
        with self.runs_card, theme.card("Runs of this page, to compare two"):
            self.table = theme.element("div", "vg-scroll")
            self.differences = theme.text("", "p", "vg-note")

    # ------------------------------------------------------------------------------------------- what is done
    def _train(self) -> None:
        try:
            given = {name: self._number(name, field.value) for name, field in self.fields.items()}
            settings = replace(self.settings, **given).plain()
            run = self.library.start(settings)
        except ValuegradError as error:
            self.settings_status.wrong(in_words(str(error)))
            return
        self.settings_status.say("")
        if self.run is not None:
            self.other = self.run
        self._show(run)

    def _show(self, run: Run) -> None:
        if run not in self.runs:
            self.runs.append(run)
        if run is self.other:
            self.other = self.run if self.run is not run else None
        self.run = run
        self._remember(run=run.id, other=self.other.id if self.other is not None else "")
        self.refresh(again=True)

    def _compare(self, run: Run) -> None:
        self.other = None if run is self.other else run
        self._remember(other=self.other.id if self.other is not None else "")
        self.refresh(again=True)

    def _pause(self) -> None:
        if self.run is not None:
            self.run.pause()
            self.refresh()

    def _resume(self) -> None:
        if self.run is not None:
            try:
                self.library.resume(self.run)
            except ValuegradError as error:
                self.status.wrong(error)
                return
            self.refresh()

    def _stop(self) -> None:
        if self.run is not None:
            self.run.stop()
            self.refresh()

    def _left(self) -> None:
        """The tab is gone: nobody watches its runs any more."""
        for run in self.runs:
            run.leave("Paused, as its page was closed.")

    async def _save(self) -> None:
        run = self.run
        if run is None:
            return
        try:
            documents = None if run.settings.data in datasets.names() else run.data.documents
            data = await nicegui_run.io_bound(lambda: uploads.pack(run.checkpoint(), documents))
        except ValuegradError as error:
            self.status.wrong(error)
            return
        if data is not None:  # else the server is ending
            ui.download.content(data, f"valuegrad-{run.snapshot().step}-steps.zip")

    async def _load(self, name: str, data: bytes) -> None:
        run = await nicegui_run.io_bound(lambda: self.library.load(uploads.read_checkpoint(data, name)))
        if run is None:
            return  # the server is ending
        if self.run is not None:
            self.other = self.run
        self._remember(**{field: getattr(run.settings, field) for field in ("data", *LABELS)})
        self.data.set_options(self._choices(), value=self.settings.data)
        self._show_settings()
        self._describe()
        self._show(run)
        self.status.say(f"{name}: loaded, after step {run.snapshot().step:,}.", "good")

    def _go_to(self, path: str) -> None:
        if self.run is not None:
            ui.navigate.to(
                self.state.link(path) + ("&" if "?" in self.state.link(path) else "?") + f"run={self.run.id}"
            )

    # ---------------------------------------------------------------------------------------- what is seen
    def name(self, run: Run) -> str:
        """What the page calls a run."""
        return f"Run {self.runs.index(run) + 1}"

    def refresh(self, again: bool = False) -> None:
        """Show what has changed since the last time; ``again``: all of it."""
        shown = [run for run in (self.run, self.other) if run is not None]
        snapshots = [run.snapshot() for run in shown]
        seen = [(run.id, s.state, s.preparing, s.step, len(s.writings)) for run, s in zip(shown, snapshots)]
        if seen == self._seen and not again:
            return
        self._seen = seen
        named = [(self.name(run), snapshot) for run, snapshot in zip(shown, snapshots)]
        self._refresh_run(snapshots[0] if self.run is not None else None)
        self.chart.options.clear()
        self.chart.options.update(charts.losses(named, self.state.dark))
        self.chart.update()
        self.chart.props["aria-label"] = charts.summary(named)
        self._refresh_runs()

    def _refresh_run(self, now: Snapshot | None) -> None:
        state = now.state if now is not None else "none"
        self.train_button.set_enabled(state != "training")
        self.pause_button.set_enabled(state == "training")
        self.resume_button.set_enabled(state == "paused")
        self.stop_button.set_enabled(state in ("training", "paused"))
        for button in (self.save_button, self.write_button, self.inside_button):
            button.set_enabled(now is not None and (now.step > 0 or state != "training"))
        if now is None or self.run is None:
            return
        self.run_title.text = self.name(self.run)
        if now.preparing:
            news = "Recording the first step, to run it compiled; larger models take some seconds."
        else:
            news = now.message if now.message else NEWS.get(state, "")
        if news != self._news:  # screen readers read it again whenever it changes
            self._news = news
            self.status.say(news, "bad" if state == "failed" else "good" if state == "done" else "plain")
        self.progress.value = now.step / now.steps
        self.figure["Step"].text = f"{now.step:,}"
        self.figure["Loss"].text = f"{now.loss:.3f}" if now.step else "–"
        self.figure["Held out"].text = f"{now.evaluations[-1][1]:.3f}" if now.evaluations else "–"
        self.figure["Documents/s"].text = f"{now.speed:,.0f}" if now.speed else "–"
        self._refresh_writings(now)

    def _refresh_writings(self, now: Snapshot) -> None:
        self.no_writings.set_visibility(not now.writings)
        self.writings.clear()
        with self.writings:
            if now.writings:
                with theme.element("thead"), theme.element("tr"):
                    theme.text("Step", "th").props('scope="col"')
                    theme.text("It writes", "th").props('scope="col"')
            with theme.element("tbody"):
                for writing in reversed(now.writings[-SHOWN_WRITINGS:]):
                    with theme.element("tr"):
                        theme.text(f"{writing.step:,}", "td")
                        theme.text(", ".join(text or "(nothing)" for text in writing.texts), "td")

    def _refresh_runs(self) -> None:
        self.runs_card.set_visibility(len(self.runs) > 1)
        both = self.run is not None and self.other is not None
        self.differences.text = self._in_what_they_differ() if both else "Compare two of them to see both in the chart."
        drawn = (len(self.runs), self.run, self.other)
        if drawn != self._drawn:  # else the buttons stay, and the keyboard's place with them
            self._drawn = drawn
            self._draw_runs()
        for run, cells in zip(self.runs, self._cells):
            now = run.snapshot()
            texts = (
                f"{now.step:,} of {now.steps:,}",
                f"{now.loss:.3f}" if now.step else "–",
                f"{now.evaluations[-1][1]:.3f}" if now.evaluations else "–",
            )
            for cell, text in zip(cells, texts):
                cell.text = text

    def _draw_runs(self) -> None:
        self.table.clear()
        with self.table, theme.element("table", "vg-table"):
            with theme.element("thead"), theme.element("tr"):
                for title in ("Run", "Texts", "Step", "Loss", "Held out", ""):
                    theme.text(title, "th").props('scope="col"')
            with theme.element("tbody"):
                self._cells = [self._row(run) for run in self.runs]

    def _row(self, run: Run) -> list[Any]:
        """A run's row; the cells for its step and its losses."""
        name = self.name(run)
        with theme.element("tr"):
            theme.text(name, "td")
            theme.text(run.data.name[:30], "td")
            cells = [theme.text("", "td") for _ in range(3)]
            with theme.element("td"), theme.element("div", "vg-row vg-tight"):
                if run is self.run:
                    theme.text("shown", "span", "vg-note")
                else:
                    show = theme.button("Show", lambda: self._show(run)).props("dense")
                    theme.labelled(show, f"Show {name}")
                    label = "Compared" if run is self.other else "Compare"
                    compare = theme.button(label, lambda: self._compare(run)).props("dense")
                    theme.labelled(compare, f"Compare with {name}")
                    compare.props(f'aria-pressed="{str(run is self.other).lower()}"')
        return cells

    def _in_what_they_differ(self) -> str:
        assert self.run is not None
        assert self.other is not None
        found = self.run.settings.difference(self.other.settings)
        names = f"{self.name(self.run)} and {self.name(self.other)}"
        if not found:
            return f"{names} have the same settings, so their numbers are the same."
        return f"{names} differ in: " + "; ".join(f"{what} {mine} and {theirs}" for what, mine, theirs in found) + "."
