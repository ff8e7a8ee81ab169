"""A canvas with legible text: characters that no font has are drawn as codes instead of boxes."""

from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties

from verl_vip.reporting.labels import drawable


class LegibleCanvas(FigureCanvasAgg):
    """Matplotlib's raster canvas, with `drawable` applied to all text."""

    def __init__(self, figure: Figure) -> None:
        super().__init__(figure)
        self._made: tuple[tuple[int, int, float], RendererAgg] | None = None

    def get_renderer(self) -> RendererAgg:
        """Return the renderer for the figure's current size."""
        size = (*self.get_width_height(physical=True), float(self.figure.dpi))
        if self._made is None or self._made[0] != size:
            self._made = size, _Renderer(*size)  # type: ignore[no-untyped-call]
        self.renderer: RendererAgg = self._made[1]
        return self.renderer


class _Renderer(RendererAgg):
    def draw_text(self, gc: Any, x: float, y: float, s: str, *rest: Any, **options: Any) -> None:
        super().draw_text(gc, x, y, drawable(s), *rest, **options)  # type: ignore[no-untyped-call]

    def get_text_width_height_descent(self, s: str, prop: FontProperties, ismath: Any) -> tuple[float, float, float]:
        metrics: tuple[float, float, float] = super().get_text_width_height_descent(  # type: ignore[no-untyped-call]
            drawable(s), prop, ismath
        )
        return metrics
