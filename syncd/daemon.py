"""The loop: a pass over each source when it is due, orders from other commands, until a stop.

The loop never waits for a pass; each source has a thread of its own, so none holds up another. A bug in a
pass ends the process: the supervisor starts it again, and nothing that was in memory is missed.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from types import FrameType

import structlog

from syncd.assemble import House
from syncd.errors import ConfigError, TryAgain
from syncd.memory import give_back
from syncd.orders import work_off
from syncd.sync import End, Mirror, Outcome, Stopped, one_pass

TICK_S = 1.0
GRACE_S = 4.0  # for a stop; who still waits for an answer then is cut off, which costs a repeat and no more
ORDERS = 8  # worked off side by side: a slow one must not keep the next one waiting
SWEEP_EVERY = timedelta(hours=12)

log = structlog.get_logger()


class Daemon:
    """Runs passes side by side, one a source at a time."""

    def __init__(self, house: House, *, is_start: bool = True) -> None:
        self._house = house
        self._due: dict[str, datetime | None] = dict.fromkeys(house.mirrors)  # None: at once
        self._swept: dict[str, datetime] = {}
        self._running: dict[str, Future[Outcome]] = {}
        self._orders: dict[tuple[str, str], Future[list[End]]] = {}  # left by other commands, under way: one a run
        self._untried = set(house.mirrors if is_start else ())  # sources whose first pass has not ended
        self._works = False  # whether anything is under way
        self._welcome = False  # whether some source has not refused us at its first pass

    def run(self, on_tick: Callable[[], None] = lambda: None) -> None:
        """Turn until a stop. ConfigError when every source refuses us at the start; bugs pass through."""
        with ThreadPoolExecutor(len(self._house.mirrors) + ORDERS + 2, thread_name_prefix="pass") as passes:
            try:
                while not self._house.stop.is_set():
                    self.tick(passes)
                    on_tick()
                    self._house.stop.wait(TICK_S)
            except Stopped:
                pass
            except BaseException:
                self._house.stop.set()  # let the other passes end at once
                raise
            finally:
                wait(self._running.values())

    def tick(self, passes: ThreadPoolExecutor) -> None:
        """Start what is due, take in what has ended, carry out orders. TryAgain: there is no data_dir any more."""
        self._house.stand()
        now = self._clock()
        for name, future in list(self._running.items()):
            if future.done():
                del self._running[name]
                self._take_in(name, future)
                give_back()
        try:
            self._take_orders(passes)
        except TryAgain as error:  # a full disk, say: they stay in the state
            log.warning("orders_wait", error=str(error), hint=error.hint)
        self._house.publisher.turn(passes, now)
        for name, due in self._due.items():
            if name not in self._running and (due is None or not now < due <= now + self._interval(name)):
                # a time further away than an interval was noted before the clock was set back
                sweep = abs(now - self._swept.get(name, datetime.min.replace(tzinfo=now.tzinfo))) >= SWEEP_EVERY
                self._due[name] = now + self._pause(name)
                self._running[name] = passes.submit(one_pass, self._house.mirrors[name], sweep=sweep)
                if sweep:
                    self._swept[name] = now
        self._house.packer.turn(passes, now, is_idle=not self._running and not self._orders)
        self._rest_when_done()

    def _rest_when_done(self) -> None:
        worked, self._works = self._works, bool(self._running or self._orders or self._house.packer.works)
        if worked and not self._works:  # until something is due, it may be an hour
            self._house.lake.rest()
            give_back()

    def _take_orders(self, passes: ThreadPoolExecutor) -> None:
        for run in [run for run, future in self._orders.items() if future.done()]:
            self._orders.pop(run).result()  # what an order couldn't write down, a bug or a stop
        for order in self._house.state.orders():
            if len(self._orders) < ORDERS and (order.source, order.run) not in self._orders:
                self._orders[order.source, order.run] = passes.submit(work_off, self._house, [order])

    def _take_in(self, name: str, future: Future[Outcome]) -> None:
        try:
            outcome = future.result()
        except Stopped:
            return
        if outcome.trouble:
            self._swept.pop(name, None)  # a walk that broke off was no sweep
        if outcome.look_again_at:  # the vendor works on what it was asked for
            self._due[name] = min(self._due[name] or outcome.look_again_at, outcome.look_again_at)
        if name in self._untried:
            self._untried.remove(name)
            self._welcome |= not isinstance(outcome.trouble, ConfigError)
            if outcome.trouble and not self._untried and not self._welcome:
                raise outcome.trouble

    def _interval(self, name: str) -> timedelta:
        return self._house.settings.sources[name].pass_interval

    def _pause(self, name: str) -> timedelta:
        return self._interval(name) * random.uniform(0.95, 1.0)  # noqa: S311  # jitter, no secret

    def _clock(self) -> datetime:
        return next(iter(self._house.mirrors.values())).clock()


def once(house: House, wait_for: timedelta) -> list[Outcome]:
    """One pass over every source, side by side, then what readers elsewhere see; Stopped when we were asked to.

    Exports that had to be asked for are waited for: each pass over their source is repeated for so long.
    """
    work_off(house, house.state.orders())
    with ThreadPoolExecutor(len(house.mirrors), thread_name_prefix="pass") as passes:
        running = [passes.submit(brought_home, mirror, wait_for) for mirror in house.mirrors.values()]
        try:
            while wait(running, timeout=TICK_S, return_when=FIRST_COMPLETED).not_done:  # signals get in between
                if any(future.done() and future.exception() for future in running):
                    break
            outcomes = [future.result() for future in running]
            work_off(house, house.state.orders())  # left for us meanwhile
            house.packer.spend()
            return outcomes + [Outcome(trouble=trouble) for trouble in house.publisher()]
        except BaseException:
            house.stop.set()
            raise


def brought_home(mirror: Mirror, wait_for: timedelta) -> Outcome:
    """A pass, and more of them while the vendor makes what it was asked for."""
    until = mirror.clock() + wait_for
    outcome = one_pass(mirror, sweep=True)
    while outcome.look_again_at and max(outcome.look_again_at, mirror.clock()) <= until:
        pause = outcome.look_again_at - mirror.clock()
        if mirror.stop.wait(max(0.0, pause.total_seconds())):
            raise Stopped
        later = one_pass(mirror, sweep=False)
        ends = {end.run.name: end for end in (*outcome.ends, *later.ends)}  # the last word on each
        outcome = replace(later, ends=list(ends.values()))
    return outcome


@contextmanager
def stoppable(stop: threading.Event, stopped: Callable[[int], int]) -> Iterator[list[int]]:
    """SIGTERM and SIGINT set `stop`; a second one means now, and so does the end of the grace.

    `stopped`: the exit code for a signal's number. Yields the list of the signals that came.
    """
    came: list[int] = []
    waiting: list[threading.Timer] = []

    def leave(number: int) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(stopped(number))

    def on_signal(number: int, _frame: FrameType | None) -> None:
        came.append(number)
        if len(came) > 1:
            leave(number)
        stop.set()
        waiting.append(threading.Timer(GRACE_S, leave, [number]))
        waiting[0].daemon = True
        waiting[0].start()

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield came
    finally:
        for timer in waiting:
            timer.cancel()
        for number, handler in before.items():
            signal.signal(number, handler)
