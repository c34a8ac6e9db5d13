"""Charts as inline SVG on the unit square, small and without a script; colours come from the page's style sheet.

In: points in [0, 1] x [0, 1]. Out: Markup, whose text is text. Classes name what is drawn: real, fake, acc, ap, guide.
"""

from collections.abc import Iterable, Sequence

from markupsafe import Markup

Point = tuple[float, float]
Tick = tuple[float, str]

LEFT, TOP, WIDTH, HEIGHT, BELOW, RIGHT = 44, 12, 260, 190, 40, 12  # px of the view box around and of the unit square
SHARES = [(share, f"{100 * share:.0f}") for share in (0, 0.25, 0.5, 0.75, 1)]  # ticks of an axis in percent


def chart(
    title: str, marks: Iterable[Markup], *, x: str, y: str, x_ticks: Sequence[Tick] = SHARES, y_ticks: Sequence[Tick] = SHARES
) -> Markup:
    """Marks in a frame with a grid, named axes and ticks (place, text)."""
    lines = [line([(0, at), (1, at)], "grid") for at, _ in y_ticks]
    texts = [_text(at, 0, str(text), dy=16, anchor="middle") for at, text in x_ticks]
    texts += [_text(0, at, text, dx=-6, dy=4, anchor="end") for at, text in y_ticks]
    names = [_text(0.5, 0, x, dy=34, anchor="middle", kind="name")]
    names.append(
        Markup('<text class="name" text-anchor="middle" transform="translate({} {}) rotate(-90)">{}</text>').format(
            12, TOP + HEIGHT / 2, y
        )
    )
    box = f"0 0 {LEFT + WIDTH + RIGHT} {TOP + HEIGHT + BELOW}"
    inside = Markup("").join([*lines, *marks, *texts, *names])
    return Markup('<svg viewBox="{}" role="img" aria-label="{}">{}</svg>').format(box, f"{title}: {y} over {x}", inside)


def line(points: Iterable[Point], kind: str) -> Markup:
    return Markup('<polyline class="line {}" points="{}"/>').format(kind, _places(points))


def bar(left: float, right: float, height: float, kind: str) -> Markup:
    return Markup('<polygon class="bar {}" points="{}"/>').format(
        kind, _places([(left, 0), (left, height), (right, height), (right, 0)])
    )


def dot(point: Point, kind: str, *, radius: float = 3) -> Markup:
    x, y = _place(point)
    return Markup('<circle class="dot {}" cx="{:.1f}" cy="{:.1f}" r="{:.1f}"/>').format(kind, x, y, radius)


def _text(x: float, y: float, text: str, *, dx: float = 0, dy: float = 0, anchor: str, kind: str = "tick") -> Markup:
    left, top = _place((x, y))
    form = '<text class="{}" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>'
    return Markup(form).format(kind, left + dx, top + dy, anchor, text)


def _place(point: Point) -> Point:
    return LEFT + WIDTH * point[0], TOP + HEIGHT * (1 - point[1])


def _places(points: Iterable[Point]) -> str:
    return " ".join("{:.1f},{:.1f}".format(*_place(point)) for point in points)
