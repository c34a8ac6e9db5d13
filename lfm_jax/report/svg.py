"""Charts as inline SVG, small and without scripts, from points in the unit square.

Colours come from the page's style sheet, by classes that name what is drawn: real, fake, acc, ap, guide. All text is escaped.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

Point = tuple[float, float]
Tick = tuple[float, str]

LEFT, TOP, BELOW, RIGHT = 48, 12, 40, 12  # px around the unit square
SHARES = [(share, f"{100 * share:.0f}") for share in (0, 0.25, 0.5, 0.75, 1)]  # ticks of an axis in percent


@dataclass(frozen=True)
class Frame:
    """The unit square, drawn `width` x `height` px large. Make marks first, then put them into a `chart`."""

    width: float = 212
    height: float = 180

    def chart(
        self,
        title: str,
        marks: Iterable[Markup],
        *,
        x: str,
        y: str,
        x_ticks: Sequence[Tick] = SHARES,
        y_ticks: Sequence[Tick] = SHARES,
    ) -> Markup:
        """Marks in front of a grid, with named axes and ticks (place, text)."""
        lines = [self.line([(0, at), (1, at)], "grid") for at, _ in y_ticks]
        texts = [self.text((at, 0), text, dy=17) for at, text in x_ticks]
        texts += [self.text((0, at), text, dx=-6, dy=4, anchor="end") for at, text in y_ticks]
        texts.append(self.text((0.5, 0), x, dy=35))
        upright = Markup('<text text-anchor="middle" transform="translate({} {:.1f}) rotate(-90)">{}</text>')
        texts.append(upright.format(12, TOP + self.height / 2, y))
        inside = Markup("").join([*lines, *marks, *texts])
        width, height = LEFT + self.width + RIGHT, TOP + self.height + BELOW
        form = '<svg viewBox="0 0 {0:.0f} {1:.0f}" width="{0:.0f}" role="img" aria-label="{2}"><title>{2}</title>{3}</svg>'
        return Markup(form).format(width, height, f"{title}: {y} over {x or title}", inside)

    def line(self, points: Iterable[Point], kind: str) -> Markup:
        return Markup('<polyline class="line {}" points="{}"/>').format(kind, self._places(points))

    def bar(self, left: float, right: float, bottom: float, top: float, kind: str) -> Markup:
        corners = [(left, bottom), (left, top), (right, top), (right, bottom)]
        return Markup('<polygon class="bar {}" points="{}"/>').format(kind, self._places(corners))

    def dot(self, point: Point, kind: str, *, radius: float = 3.5) -> Markup:
        x, y = self._place(point)
        return Markup('<circle class="dot {}" cx="{:.1f}" cy="{:.1f}" r="{:.1f}"/>').format(kind, x, y, radius)

    def square(self, point: Point, kind: str, *, side: float = 6) -> Markup:
        x, y = self._place(point)
        form = '<rect class="dot {}" x="{:.1f}" y="{:.1f}" width="{side}" height="{side}"/>'
        return Markup(form).format(kind, x - side / 2, y - side / 2, side=side)

    def text(self, point: Point, text: str, *, dx: float = 0, dy: float = 0, anchor: str = "middle") -> Markup:
        x, y = self._place(point)
        return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(x + dx, y + dy, anchor, text)

    def _place(self, point: Point) -> Point:
        return LEFT + self.width * point[0], TOP + self.height * (1 - point[1])

    def _places(self, points: Iterable[Point]) -> str:
        return " ".join("{:.1f},{:.1f}".format(*self._place(point)) for point in points)
