"""The page "Generate": let a trained model write, all at once or token by token, and see where it looks.

Where to start reading: ``build``, then ``GeneratePage.write``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from html import escape
from typing import Any, TypeVar

from nicegui import run as nicegui_run
from nicegui import ui

from valuegrad.errors import ValuegradError
from valuegrad.playground import generating, theme, uploads
from valuegrad.playground.generating import LABELS, GenerateSettings, Slowly
from valuegrad.playground.runs import Run, Trained
from valuegrad.playground.settings import LABELS as RUN_LABELS
from valuegrad.playground.settings import in_words
from valuegrad.playground.state import PageState

__all__ = ["PATH", "TITLE", "build"]

PATH = "/generate"
TITLE = "Generate"

T = TypeVar("T")

HINTS = {
    "temperature": "how daring; 1 as learned",
    "top_k": "only so many; 0 for all",
    "prefix": "how each text begins",
    "count": "texts at once",
    "draws": "same seed, same texts",
}


def build(state: PageState) -> None:
    """Make the page's elements."""
    theme.heading(
        "Generate",
        "A trained model gives every character a probability of coming next. One is drawn, then the next, "
        "until the model draws the end.",
    )
    GeneratePage(state)


class GeneratePage:
    """The elements of one tab.

    Args:
        state: what the tab has.
    """

    def __init__(self, state: PageState) -> None:
        self.state = state
        self.library = state.playground.runs
        self.settings = state.restore(GenerateSettings)
        self.run: Run | None = self.library.get(self.settings.run) if self.settings.run else None
        if self.run is not None:
            self.settings = self._with_run(self.run)
        self.trained: Trained | None = None
        self.turn = asyncio.Lock()
        self.slowly: Slowly | None = None
        self.owned: list[Run] = []  # those that were started here
        self._model_card()
        with theme.element("div", "vg-columns"):
            self._settings_card()
            self._texts_card()
        with theme.element("div", "vg-columns"):
            self._slow_card()
            self._attention_card()
        self.timer = ui.timer(0.3, self._follow, active=False)
        state.on_leave(self._left)
        ui.timer(0.05, self._restored, once=True)

    # --------------------------------------------------------------------------------------------- the model
    def _model_card(self) -> None:
        with theme.card("The model"):
            self.status = theme.Status()
            with theme.element("div", "vg-row"):
                self.train_button = theme.button("Train this model", self._train, main=True)
                theme.file_button("Load checkpoint", uploads.MOST_BYTES, self._load, self.status)
                self.inside_button = theme.button("Look inside", lambda: self._go_to("/inside"))
                theme.button("Other sizes and texts", lambda: self._go_to("/train"))
        self._say_model()

    def _say_model(self) -> None:
        settings = self.settings
        sizes = (
            f"embedding {settings.n_embd}, heads {settings.n_head}, layers {settings.n_layer}, "
            f"context {settings.block_size}"
        )
        there = self.run is not None
        self.train_button.set_visibility(not there)
        self.inside_button.set_visibility(there)
        if self.run is None:
            gone = "The model that this address means is not here any more. " if settings.run else ""
            self.status.say(
                f"{gone}Train one first, with {settings.steps:,} steps on {settings.data} ({sizes}): it takes some "
                "seconds."
            )
            return
        now = self.run.snapshot()
        if now.state == "failed":
            self.status.wrong(now.message)
        elif now.state == "training":
            what = "recording the first step" if now.preparing else f"step {now.step:,} of {now.steps:,}"
            self.status.say(f"It is being trained: {what}.")
        else:
            loss = f", loss {now.loss:.3f}" if now.step else ""
            self.status.say(f"It learned {now.step:,} steps from {self.run.data.name}{loss}; {sizes}.", "good")

    def _train(self) -> None:
        try:
            self.run = self.library.start(self.settings.plain())
        except ValuegradError as error:
            self.status.wrong(in_words(str(error)))
            return
        self.owned.append(self.run)
        self._remember(run=self.run.id)
        self._say_model()
        self.timer.activate()

    async def _follow(self) -> None:
        """While it trains: how far it is; then let it write."""
        self._say_model()
        if self.run is None or self.run.snapshot().state != "training":
            self.timer.deactivate()
            await self._restored()

    async def _load(self, name: str, data: bytes) -> None:
        run = await nicegui_run.io_bound(lambda: self.library.load(uploads.read_checkpoint(data, name)))
        if run is None:
            return  # the server is ending
        self.run, self.slowly = run, None
        self.settings = self._with_run(run)
        self._remember(layer=1, slow=0, look="")
        await self._restored()

    def _with_run(self, run: Run) -> GenerateSettings:
        """This page's settings with those of a run: whoever opens the link when it is gone can train it again."""
        found = {field: getattr(run.settings, field) for field in ("data", *RUN_LABELS)}
        return replace(self.settings, run=run.id, **found, layer=min(self.settings.layer, run.settings.n_layer))

    def _go_to(self, path: str) -> None:
        if path == "/train":
            ui.navigate.to(self.state.link(path, self.settings.plain(), run=self.settings.run if self.run else ""))
        elif self.run is not None:
            ui.navigate.to(self.state.link(path, run=self.run.id))

    def _left(self) -> None:
        for run in self.owned:
            run.leave("Paused, as its page was closed.")

    # ------------------------------------------------------------------------------------------ the settings
    def _settings_card(self) -> None:
        self.fields: dict[str, Any] = {}
        with theme.card("How it writes"):
            with theme.element("div", "vg-grid"):
                for name, label in LABELS.items():
                    value = getattr(self.settings, name)
                    field = ui.input(label, value=value) if name == "prefix" else ui.number(label, value=value)
                    field.props(f'outlined dense hint="{HINTS[name]}"')
                    if name == "temperature":
                        field.props('step="0.1" min="0"')
                    field.on_value_change(lambda: self._changed())
                    field.on("keydown.enter", self.write)
                    self.fields[name] = field
            self.settings_status = theme.Status()
            with theme.element("div", "vg-row"):
                self.write_button = theme.button("Write", self.write, main=True)
                self.more_button = theme.button("Write others", self._write_others)

    def _changed(self) -> bool:
        """The fields have changed: into the address with them, or say what is wrong; whether all are right."""
        try:
            given = {name: self._number(name, field.value) for name, field in self.fields.items()}
            self._remember(**given)
        except ValuegradError as error:
            self.settings_status.wrong(in_words(str(error), LABELS))
            return False
        self.settings_status.say("")
        return True

    @staticmethod
    def _number(name: str, value: Any) -> Any:
        """What a field has, as a setting: the browser knows no whole numbers."""
        if name == "prefix":
            return value or ""
        whole = isinstance(value, float) and value.is_integer() and abs(value) <= 2**53
        return int(value) if whole and name != "temperature" else value

    def _remember(self, **changes: Any) -> None:
        self.settings = replace(self.settings, **changes)
        self.state.remember(self.settings)

    # --------------------------------------------------------------------------------------------- all at once
    def _texts_card(self) -> None:
        with theme.card("Texts"):
            self.texts_status = theme.Status()
            self.texts = theme.element("ul", "vg-texts")
            self.known = theme.text("", "p", "vg-note")

    async def write(self) -> None:
        """Write as many texts as were asked for."""
        if self.run is None or not self._changed():
            return
        settings, trained = self.settings, await self._model()
        if trained is None:
            return
        self._busy(True)
        try:
            found = await self._beside(lambda: generating.texts(trained.model, trained.tokenizer, settings))
        except ValuegradError as error:
            self.settings_status.wrong(in_words(str(error), LABELS))
            return
        finally:
            self._busy(False)
        if found is None:
            return
        self.texts.clear()
        known = set(self.run.data.documents)
        with self.texts:
            for text in found:
                with theme.text(text or "(nothing)", "li", "vg-known" if text in known else ""):
                    if text in known:
                        theme.text(" (known)", "span", "vg-hidden")
        count = sum(text in known for text in found)
        self.known.text = f"{count} of {len(found)} (in grey) stand in the texts that it learned from."
        few = "" if len(found) == settings.count else " It stopped there, as it took long."
        self.texts_status.say(f"{len(found)} texts.{few}")
        if not settings.look:
            await self._look(next((text for text in found if text), ""))

    async def _write_others(self) -> None:
        self.fields["draws"].value = self.settings.draws + 1
        await self.write()

    def _busy(self, busy: bool) -> None:
        for button in (self.write_button, self.more_button):
            button.set_enabled(not busy)

    # ---------------------------------------------------------------------------------------- token by token
    def _slow_card(self) -> None:
        with theme.card("Token by token"):
            self.written = ui.html("", sanitize=False).classes("vg-written vg-mono")
            self.slow_status = theme.Status("Press Next token: the model's probabilities come as bars.")
            with theme.element("div", "vg-row"):
                self.next_button = theme.button("Next token", self.next_token, main=True)
                self.again_button = theme.button("From the beginning", self._slowly_again)
            self.bars = ui.html("", sanitize=False)

    async def next_token(self) -> None:
        """Write one more token, and show what else could have come."""
        if self.run is None or not self._changed():
            return
        trained = await self._model()
        if trained is None:
            return
        if self.slowly is None and not await self._begin_slowly(trained):
            return
        slowly = self.slowly
        assert slowly is not None
        before = slowly.text
        found = await self._beside(slowly.step)
        if found is None:
            self.slow_status.say(f"The text has ended: {slowly.ended}.", "good")
            return
        self._remember(slow=self.settings.slow + 1)
        self._show_token(trained, before)
        await self._look(slowly.text)

    async def _begin_slowly(self, trained: Trained) -> bool:
        try:
            self.slowly = Slowly(trained.model, trained.tokenizer, self.settings)
        except ValuegradError as error:
            self.settings_status.wrong(in_words(str(error), LABELS))
            return False
        self._remember(slow=0)
        return True

    def _show_token(self, trained: Trained, before: str) -> None:
        slowly = self.slowly
        assert slowly is not None
        assert slowly.last is not None
        name = generating.token_name(slowly.last.token, trained.tokenizer)
        self.written.content = f"{escape(before)}<b>{escape(slowly.last.text or '⏎')}</b>"
        chance = slowly.last.probabilities[slowly.last.token]
        news = f"It drew {name}, whose probability was {chance:.1%}."
        if slowly.ended:
            news += f" The text has ended: {slowly.ended}."
        self.slow_status.say(news, "good" if slowly.ended else "plain")
        self.bars.content = generating.bars(generating.likeliest(slowly.last, trained.tokenizer))

    async def _slowly_again(self) -> None:
        self.slowly = None
        self.written.content = self.bars.content = ""
        self._remember(slow=0)
        self.slow_status.say("Press Next token: the model's probabilities come as bars.")

    # --------------------------------------------------------------------------------------------- attention
    def _attention_card(self) -> None:
        with theme.card("Where it looks"):
            theme.text(
                "Each row is a position, each column a position that it looks at: the stronger the colour, the more. "
                "A row adds up to 100 %.",
                "p",
                "vg-note",
            )
            with theme.element("div", "vg-row"):
                self.look = ui.input("Text to read", value=self.settings.look).props("outlined dense")
                self.look.on("keydown.enter", lambda: self._look(self.look.value or ""))
                self.layer = (
                    ui.select([1], value=1, label="Layer").props("outlined dense options-dense").classes("vg-short")
                )
                self.layer.on_value_change(self._layer_chosen)
                theme.button("Show", lambda: self._look(self.look.value or ""))
            self.look_status = theme.Status()
            with theme.element("div", "vg-scroll").props('tabindex="0" role="region" aria-label="Attention weights"'):
                self.heads = ui.html("", sanitize=False).classes("vg-heads")

    async def _layer_chosen(self, event: Any) -> None:
        if event.value is not None and event.value != self.settings.layer:
            self._remember(layer=event.value)
            await self._look(self.look.value or "")

    async def _look(self, text: str) -> None:
        """Show the attention of a text."""
        trained = await self._model()
        if trained is None:
            return
        try:
            found = await self._beside(lambda: generating.attention(trained.model, trained.tokenizer, text))
            self._remember(look=text)
        except ValuegradError as error:
            self.look_status.wrong(error)
            return
        if found is None:
            return
        layer = min(self.settings.layer, len(found))
        self.look.value = text
        self.layer.set_options(list(range(1, len(found) + 1)), value=layer)
        names = generating.names(text, trained)
        self.heads.content = "".join(
            generating.heat_map(f"Head {i}", head, names) for i, head in enumerate(found[layer - 1], 1)
        )
        cut = len(text) + 1 - len(names)
        self.look_status.say(f"The last {cut} characters have no room here." if cut > 0 else "")

    # ------------------------------------------------------------------------------------------------ helpers
    async def _restored(self) -> None:
        """Show what the address says."""
        self.state.remember(self.settings)
        self._say_model()
        there = self.run is not None and self.run.snapshot().state != "training"
        for button in (self.write_button, self.more_button, self.next_button, self.again_button):
            button.set_enabled(there)
        if self.run is not None and not there:
            self.timer.activate()
        if not there:
            return
        slow, look = self.settings.slow, self.settings.look
        await self.write()
        self._remember(slow=0)
        for _ in range(slow):
            if self.slowly is not None and self.slowly.ended:
                break
            await self.next_token()
        if look:
            await self._look(look)

    async def _model(self) -> Trained | None:
        """The model of the run, as it is now."""
        run = self.run
        if run is None:
            return None
        try:
            trained = await self._beside(run.trained)
        except ValuegradError as error:
            self.status.wrong(error)
            return None
        if trained is not self.trained:
            self.trained, self.slowly = trained, None
        return trained

    async def _beside(self, function: Callable[[], T]) -> T | None:
        """What a function gives, computed beside the event loop, one at a time; None when the server is ending."""
        async with self.turn:
            return await nicegui_run.io_bound(function)
