"""Predictions as HTML for notebooks, in words that claim no more than was found; fits light and dark pages."""

import html
from typing import TYPE_CHECKING, Any

from lfm_jax.runtime.palette import FAKE, REAL, css

if TYPE_CHECKING:
    from lfm_jax.inference.prediction import Prediction

COLOURS = {"fake": css(FAKE), "real": css(REAL)}
CAVEAT = (
    "A score is how much these weights find of what they learned as traces of a generator. It is a probability only where they "
    "were calibrated on images of your kind, and never a proof: fakes are missed, and photographs are accused."
)


def prediction_html(prediction: "Prediction") -> str:
    """What was found, in words that claim no more."""
    above, found = ("", "were") if prediction.label == "fake" else ("not ", "were not")
    called = f'<b style="color:{COLOURS[prediction.label]}">{prediction.label}</b>'
    return (
        f"<p>Called {called}: score {prediction.score:.3f} is {above}above the threshold {prediction.threshold:.3g}; "
        f"traces as these weights learned them {found} found "
        f"({prediction.protocol}, {prediction.width} x {prediction.height} px, logit {prediction.logit:.3f}).</p>{note(CAVEAT)}"
    )


HEADS = {"image": "left", "called": "left", "score": "left", "": "right", "logit": "right", "px": "right"}


def record_row(record: dict[str, Any], name: str) -> str:
    colour = COLOURS[record["label"]]
    bar = (
        f'<div style="width:9em;background:rgba(128,128,128,.25)"><div style="width:{100 * record["score"]:.1f}%;height:.7em;'
        f'background:{colour}"></div></div>'
    )
    cells = {
        "left": [escaped(name), f'<b style="color:{colour}">{record["label"]}</b>', bar],
        "right": [f"{record['score']:.3f}", f"{record['logit']:.2f}", f"{record['width']} x {record['height']}"],
    }
    return f"<tr>{''.join(f'<td style=text-align:{side}>{cell}</td>' for side, row in cells.items() for cell in row)}</tr>"


def note(text: str) -> str:
    return f'<p style="opacity:.7;font-size:85%;max-width:46em">{text}</p>'


def escaped(value: str) -> str:
    """As HTML; of a name that is no UTF-8, what can be shown."""
    return html.escape(value.encode("utf-8", "replace").decode())
