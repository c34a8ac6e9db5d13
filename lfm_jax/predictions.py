"""Predictions to look at: a folder's as a table that pandas takes and notebooks show, one image's in words.

In: a Detector and a folder, or a Prediction. Out: records as `predict` has them; HTML that fits light and dark pages.
"""

import html
import io
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lfm_jax.data import protocols
from lfm_jax.detector import Detector, Prediction
from lfm_jax.errors import DataError
from lfm_jax.predict import predict, write

SHOWN = 50  # rows
COLOURS = {"fake": "#ca0020", "real": "#0571b0"}
CAVEAT = (
    "A score is how much these weights find of what they learned as traces of a generator. It is a probability only where they "
    "were calibrated on images of your kind, and never a proof: fakes are missed, and photographs are accused."
)


class Predictions(list[dict[str, Any]]):
    """A record for each image that was scored; `errors` are {"path", "error"} for those that could not be."""

    def __init__(self, records: Iterable[dict[str, Any]], folder: Path):
        every = list(records)
        super().__init__(record for record in every if "error" not in record)
        self.errors = [record for record in every if "error" in record]
        self.folder = folder

    def __repr__(self) -> str:
        text = io.StringIO()
        write(self[:SHOWN], "table", text)
        return f"{text.getvalue()}{self._summary()}"

    def _repr_html_(self) -> str:
        rows = "".join(_row(record, self._name(record)) for record in self[:SHOWN])
        failed = "".join(f"<li>{_text(self._name(record))}: {_text(record['error'])}</li>" for record in self.errors[:SHOWN])
        heads = "".join(f'<th style="text-align:{side}">{name}</th>' for name, side in _HEADS.items())
        return (
            f"<p>{_text(self._summary())}</p><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
            + (f"<p>Could not be scored:</p><ul>{failed}</ul>" if failed else "")
            + _note(CAVEAT)
        )

    def _name(self, record: dict[str, Any]) -> str:
        return os.path.relpath(record["path"], self.folder)

    def _summary(self) -> str:
        called = Counter(record["label"] for record in self)
        said = f"{self.folder}: {len(self) + len(self.errors)} images"
        if self:
            how = f"at threshold {self[0]['threshold']:.3g} under {self[0]['protocol']}"
            said += f", {called['fake']} called fake and {called['real']} real {how}"
        if self.errors:
            said += f", {len(self.errors)} could not be scored (see .errors)"
        return said + (f". The first {SHOWN} of each:" if max(len(self), len(self.errors)) > SHOWN else ".")


def predict_folder(detector: Detector, folder: str | os.PathLike[str], *, protocol: str | None = None, **speed: int) -> Predictions:
    """See `Detector.predict_folder`."""
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise DataError(f"no folder at {folder}; single images are scored by detector(image), several by detector.batches(images)")
    protocol = protocols.parse(protocol or detector.card.protocol).name
    return Predictions(predict(detector, [str(folder)], protocol=protocol, **speed), folder)


def prediction_html(prediction: Prediction) -> str:
    """What was found, in words that claim no more."""
    above, found = ("", "were") if prediction.label == "fake" else ("not ", "were not")
    called = f'<b style="color:{COLOURS[prediction.label]}">{prediction.label}</b>'
    return (
        f"<p>Called {called}: score {prediction.score:.3f} is {above}above the threshold {prediction.threshold:.3g}; "
        f"traces as these weights learned them {found} found "
        f"({prediction.protocol}, {prediction.width} x {prediction.height} px, logit {prediction.logit:.3f}).</p>{_note(CAVEAT)}"
    )


_HEADS = {"image": "left", "called": "left", "score": "left", "": "right", "logit": "right", "px": "right"}


def _row(record: dict[str, Any], name: str) -> str:
    colour = COLOURS[record["label"]]
    bar = (
        f'<div style="width:9em;background:rgba(128,128,128,.25)"><div style="width:{100 * record["score"]:.1f}%;height:.7em;'
        f'background:{colour}"></div></div>'
    )
    cells = {
        "left": [_text(name), f'<b style="color:{colour}">{record["label"]}</b>', bar],
        "right": [f"{record['score']:.3f}", f"{record['logit']:.2f}", f"{record['width']} x {record['height']}"],
    }
    return f"<tr>{''.join(f'<td style=text-align:{side}>{cell}</td>' for side, row in cells.items() for cell in row)}</tr>"


def _note(text: str) -> str:
    return f'<p style="opacity:.7;font-size:85%;max-width:46em">{text}</p>'


def _text(value: str) -> str:
    """As HTML; of a name that is no UTF-8, what can be shown."""
    return html.escape(value.encode("utf-8", "replace").decode())
