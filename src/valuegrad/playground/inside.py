"""The page "Look inside": from the loss of a GPT to a text, a position, a logit, an attention weight, to one number.

Data structures: ``Settings`` are what the address has; ``_Page`` has one tab's elements.  What it shows is a ``Web``
(``inside_model.py``), which is made anew, beside the server's loop, whenever run, step or text change.

Where to start reading: ``build``, then ``_Page.look``.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from nicegui import run as beside
from nicegui import ui

from valuegrad.arguments import shown
from valuegrad.errors import ValueArgumentError, ValuegradError
from valuegrad.playground import theme
from valuegrad.playground.inside_model import Opened, opened
from valuegrad.playground.inside_number import NumberCard
from valuegrad.playground.inside_parts import EnginesCard, PositionCard, TextCard
from valuegrad.playground.looks import button, slider, use_looks
from valuegrad.playground.runs import Run
from valuegrad.playground.settings import RunSettings, in_words
from valuegrad.playground.sketches import loss_picture
from valuegrad.playground.state import PageState

__all__ = ["PATH", "TITLE", "Settings", "build"]

PATH = "/inside"
TITLE = "Look inside"
MOST_TRAIL = 60  # numbers that a trail remembers
EVERY = 0.25  # seconds between looks at a run that trains


@dataclass(frozen=True)
class Settings(RunSettings):
    """What the address has of this page: the run, so that it can be trained again, and where one is inside of it.

    Args:
        run: its name, while the playground that trained it is there.
        after: the step whose weights are looked at; -1 for the last one.
        text: what is read; "" for the document that the next step would learn from.
        at: the position that is looked at; -1 for the one with the largest loss.
        trail: the numbers that were walked through, such as "7774.4953"; the last one is looked at.
    """

    run: str = ""
    after: int = -1
    text: str = ""
    at: int = -1
    trail: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.after < -1 or self.at < -1:
            raise ValueArgumentError("after and at are expected to be 0 or more, or -1")
        if not all(part.isascii() and part.isdigit() and len(part) < 9 for part in self.trail.split(".") if self.trail):
            raise ValueArgumentError(
                f"trail is {shown(self.trail)}; expected numbers with points between, such as 12.7"
            )

    @property
    def numbers(self) -> list[int]:
        """The trail as numbers."""
        return [int(part) for part in self.trail.split(".")] if self.trail else []


def build(state: PageState) -> None:
    """Make the page's elements."""
    use_looks()
    theme.heading(
        "Look inside",
        "A GPT is a calculation like any other, only longer. Choose a moment of its training, a text, a position, and "
        "follow the numbers down to a single product, or up to the loss.",
    )
    _Page(state, state.restore(Settings))


class _Page:
    """One tab's elements."""

    def __init__(self, state: PageState, settings: Settings) -> None:
        self.state = state
        self.settings = settings
        self.run: Run | None = None
        self.opened: Opened | None = None
        self.owned: list[Run] = []  # those that were started here
        self._drawn: Any = None  # what was seen of the run when it was drawn
        self.gone = ""
        self._slid: tuple[list[int], int] = ([], 0)  # the moments of the slider, and where it stands
        self._asked = 0  # counts what was asked for, so that an answer that is no longer wanted is dropped
        with theme.element("div", "vg-two"):
            self._run_card()
            with theme.element("div", "vg-stack") as self.reading:
                self.text = TextCard(self.choose_text, self.choose_position)
        with theme.element("div", "vg-stack") as self.inside:
            with theme.element("div", "vg-two"):
                self.position = PositionCard(self.walk_to)
                self.number = NumberCard(self.walk_to, self.walk_back)
            self.engines = EnginesCard()
        self._reveal(False)
        ui.timer(EVERY, self.watch)
        state.on_leave(self._left)
        self._find_run()

    def _reveal(self, there: bool) -> None:
        """Show what is inside, once there is something."""
        for made in (self.reading, self.inside):
            made.set_visibility(there)

    # ------------------------------------------------------------------------------------------------ the run
    def _run_card(self) -> None:
        with theme.card("A run", "vg-run"):
            self.status = theme.Status()
            with theme.element("div", "vg-row"):
                self.train = button("Train a small GPT now", "vg-button vg-primary").on("click", self.train_anew)
                self.go_on = button("Go on training", "vg-button").on("click", self.resume)
            with theme.element("div", "vg-moment") as self.moment:
                self.loss = ui.html("", sanitize=False).classes("vg-loss")
                self.loss.on(
                    "click",
                    lambda event: self.choose_share(event.args),
                    js_handler="""(event) => {
                        const picture = event.target.closest('svg'); if (!picture) return;
                        const box = picture.getBoundingClientRect(), left = Number(picture.dataset.left);
                        const part = (event.clientX - box.left) / box.width;
                        emit((part - left) / (Number(picture.dataset.right) - left));
                    }""",
                )
                self.places = theme.element("div")
                self.when = theme.text("", "p", "vg-note").props('aria-live="polite"')
            self.moment.set_visibility(False)
            self.go_on.set_visibility(False)

    def _left(self) -> None:
        for run in self.owned:
            run.leave("Paused, as its page was closed.")

    def _find_run(self) -> None:
        """The run that the address means, if it is still there; else one that is trained again in the same way."""
        found = self.state.playground.runs.get(self.settings.run) if self.settings.run else None
        if found is not None:
            self._take(found)
        elif self.settings.run:
            self.train_anew()
            if self.run is not None:
                self.gone = "The run of this link is not here any more; one with the same settings was trained again. "
        else:
            self.status.say(
                "There is no run yet. Train one here, which takes some seconds; or train one on the page Train, "
                "and press Look inside there."
            )

    def train_anew(self) -> None:
        """Train a run as the address describes it."""
        given = {field.name: getattr(self.settings, field.name) for field in fields(RunSettings)}
        try:
            found = self.state.playground.runs.start(RunSettings(**given))
        except ValuegradError as error:
            self.status.wrong(in_words(str(error)))
            return
        self.gone = ""
        self.owned.append(found)
        self._take(found)

    def resume(self) -> None:
        """Let a paused run go on."""
        if self.run is not None:
            try:
                self.state.playground.runs.resume(self.run)
            except ValuegradError as error:
                self.status.wrong(error)
            self.owned.append(self.run)

    def _take(self, found: Run) -> None:
        self.run, self.opened = found, None
        given = {field.name: getattr(found.settings, field.name) for field in fields(RunSettings)}
        self.settings = replace(self.settings, **given, run=found.id)
        self.moment.set_visibility(True)
        self.train.set_visibility(False)
        self._remember()
        self._drawn = None  # so that the timer draws it

    async def watch(self) -> None:
        """Look at the run; draw it if there is something new."""
        if self.run is None:
            return
        now = self.run.snapshot()
        kept = self.run.weights.steps
        seen = (now.state, now.step, len(kept), self.settings.after)
        if seen == self._drawn:
            return
        self._drawn = seen
        training = now.state == "training"
        self.go_on.set_visibility(now.state in ("waiting", "paused"))
        if now.state == "failed":
            self.status.say(f"{_called(self.run)}: {now.message}", "bad")
        elif training:
            self.status.say(f"{_called(self.run)}: step {now.step:,} of {now.steps:,} ...")
        else:
            loss = f"loss {now.loss:.3f} " if now.step else ""
            self.status.say(f"{self.gone}{_called(self.run)}: {loss}after {now.step:,} steps. {now.message}")
        if kept:
            step = self.step()
            self.loss.content = loss_picture(now.curve, now.steps, kept, step)
            self._draw_slider(kept, step)
            gap = f", which are kept every {self.run.weights.every:,} steps" if self.run.weights.every > 1 else ""
            self.when.text = f"Looking at the weights after step {step:,}{gap}. Click the curve, or move the slider."
        if not kept and now.state in ("paused", "stopped", "done"):  # a checkpoint that was loaded and never run
            await beside.io_bound(self.run.ask, lambda trainer: None)
            self._drawn = None
        if not training and kept and (self.opened is None or self.opened.run_id != self.run.id):
            await self.look()

    def step(self) -> int:
        """The step whose weights are looked at."""
        if self.run is None:
            return 0
        if self.settings.after >= 0:
            return self.run.weights.nearest(self.settings.after)
        return self.run.weights.steps[-1] if self.opened is None else self.opened.step

    def _draw_slider(self, kept: list[int], step: int) -> None:
        """A slider with a place for each moment; it is made anew if there are others, or if another way was taken."""
        if (kept, step) != self._slid:
            self._slid = kept, step
            self.places.clear()
            with self.places:
                at = kept.index(step)
                slider("Moment of the training", 0, len(kept) - 1, 1, at, lambda place: self.choose_kept(round(place)))

    async def choose_kept(self, place: int) -> None:
        """Another moment, by its place among those that are kept."""
        if self.run is not None and place < len(self.run.weights.steps):
            step = self.run.weights.steps[place]
            self._slid = self._slid[0], step  # the slider stands there already
            await self._choose(step)

    async def choose_share(self, share: Any) -> None:
        """Another moment: a part of the run, from 0 to 1."""
        if self.run is not None and self.run.weights.steps and isinstance(share, int | float):
            step = self.run.weights.nearest(round(self.run.settings.steps * min(max(share, 0.0), 1.0)))
            await self._choose(step)

    async def _choose(self, step: int) -> None:
        if step != self.step() or self.opened is None:
            self.settings = replace(self.settings, after=step)
            await self.watch()
            await self.look()

    # --------------------------------------------------------------------------------------- text and position
    async def choose_text(self, text: str) -> None:
        """Read another text; "" for the document of the step."""
        self.settings = replace(self.settings, text=text, at=-1, trail="")
        await self.look()

    async def look(self) -> None:
        """Read the text with the weights of the moment, and show it."""
        if self.run is None:
            return
        self._asked += 1
        asked, run, settings, step = self._asked, self.run, self.settings, self.step()
        try:
            found: Opened | None = await beside.io_bound(opened, run, step, settings.text)
        except ValuegradError as error:
            self.text.wrong(str(error))
            self._remember()
            return
        if found is None or asked != self._asked or not self.state.alive():
            return  # the server ends, or something else is wanted by now
        self.opened = found
        self._reveal(True)
        self.text.draw(found, settings.text)
        self.engines.take(found)
        await self._draw_position()

    async def choose_position(self, at: int) -> None:
        """Another position of the text."""
        self.settings = replace(self.settings, at=at, trail="")
        await self._draw_position()

    async def _draw_position(self) -> None:
        if self.opened is None:
            return
        positions = self.opened.web.reading.positions
        worst = max(positions, key=lambda position: position.loss.data).number
        at = self.settings.at if 0 <= self.settings.at < len(positions) else worst
        self.text.mark(at)
        self.position.draw(self.opened, at)
        numbers = [number for number in self.settings.numbers if number < len(self.opened.web)]
        if not numbers:
            numbers = [self.opened.web.number[self.opened.web.reading.loss], self.opened.web.number[positions[at].loss]]
        await self._walk(numbers)

    # ------------------------------------------------------------------------------------------------ numbers
    async def walk_to(self, number: int) -> None:
        """Look at another number; the trail remembers the way."""
        if self.opened is not None and 0 <= number < len(self.opened.web):
            numbers = self.number.trail
            if number in numbers:
                await self._walk(numbers[: numbers.index(number) + 1])
            else:
                await self._walk([*numbers, number][-MOST_TRAIL:])
            self.number.come()

    async def walk_back(self, count: int) -> None:
        """Go back to one of the numbers of the trail."""
        await self._walk(self.number.trail[: max(count, 1)])
        self.number.come()

    async def _walk(self, numbers: list[int]) -> None:
        self.settings = replace(self.settings, trail=".".join(map(str, numbers)))
        self._remember()
        if self.opened is not None:
            await self.number.draw(self.opened, numbers)
            self.position.mark(numbers[-1])

    def _remember(self) -> None:
        self.state.remember(self.settings)


def _called(run: Run) -> str:
    """A run for people."""
    sizes = run.settings
    return f"{run.data.name}, {sizes.steps:,} steps, seed {sizes.seed}"
