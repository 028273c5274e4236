"""The point-in-time store of one strategy run: views frozen under an anchor, cleared at its end.

Whatever works within a run (today the maker, later signals and threats) reads the views from here
and never the boards, so all of them decide on the same instant. One market is frozen once a run;
freezing it again, or reading outside a run, is our fault and raises.
"""

from __future__ import annotations

from types import TracebackType

from strategy.tick import RunAnchor, View


class StrategyCache:
    """The views of the run that is on; empty between runs. Belongs to one thread."""

    def __init__(self) -> None:
        self._anchor: RunAnchor | None = None
        self._views: dict[int, View] = {}

    def run(self, anchor: RunAnchor) -> StrategyCache:
        """Open a run, for a `with`: whatever happens in it, its views are gone at the end."""
        assert self._anchor is None, f"run {anchor.run_id} began inside another"
        self._anchor = anchor
        return self

    def __enter__(self) -> StrategyCache:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._anchor = None
        self._views.clear()

    @property
    def anchor(self) -> RunAnchor:
        assert self._anchor is not None, "no run is on"
        return self._anchor

    def freeze(self, tag: int, view: View) -> None:
        """Keep a market's view for this run."""
        assert view.anchor is self._anchor, "the view was frozen under another anchor"
        assert tag not in self._views, f"market {tag:#x} is frozen already"
        self._views[tag] = view

    def view(self, tag: int) -> View:
        """Return a market's view. Raises KeyError for one that was not frozen."""
        assert self._anchor is not None, "no run is on"
        return self._views[tag]

    def views(self) -> dict[int, View]:
        """All views of this run, by market tag."""
        assert self._anchor is not None, "no run is on"
        return dict(self._views)
