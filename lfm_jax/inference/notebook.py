"""Predictions as HTML for notebooks, in words that claim no more than was found; fits light and dark pages.

A record is a prediction as a dict, as `lfm predict` writes it.
"""

import html
from collections.abc import Mapping
from typing import Any

from lfm_jax.inference import verdict
from lfm_jax.runtime.palette import FAKE, REAL, css

GREY = "#6b7280"
COLOURS = {verdict.FOUND: css(FAKE), verdict.NONE: css(REAL), verdict.UNKNOWN: GREY}
CAVEAT = (
    "A score says how much of what these weights learned as traces of a generator they found in an image. It is a probability "
    "only where they were calibrated on images like yours, and it is never a proof: fakes are missed, and photographs are accused."
)
HEADS = {"image": "left", "answer": "left", "score": "left", "": "right", "px": "right", "why": "left"}  # with alignments


def prediction_html(record: Mapping[str, Any]) -> str:
    """One image's answer as a paragraph, with the caveat."""
    answer = f'<b style="color:{COLOURS[record["verdict"]]}">{record["verdict"].capitalize()}.</b>'
    numbers = (
        f"score {record['score']:.3f}, threshold {record['threshold']:.3g}, logit {record['logit']:.3f}, {record['protocol']}, "
        f"{record['width']} x {record['height']} px"
    )
    return f"<p>{answer} {_escaped(' '.join(record['reasons']))} ({numbers})</p>{_note(CAVEAT)}"


def records_html(summary: str, scored: Mapping[str, Mapping[str, Any]], failed: Mapping[str, str]) -> str:
    """Many images' answers as a table, with the caveat.

    Args:
      summary: a line above the table.
      scored: records by name.
      failed: reasons by name.
    """
    heads = "".join(f'<th style="text-align:{side}">{name}</th>' for name, side in HEADS.items())
    rows = "".join(_row(name, record) for name, record in scored.items())
    reasons = "".join(f"<li>{_escaped(name)}: {_escaped(reason)}</li>" for name, reason in failed.items())
    return (
        f"<p>{_escaped(summary)}</p><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
        + (f"<p>Could not be scored:</p><ul>{reasons}</ul>" if failed else "")
        + _note(CAVEAT)
    )


def _row(name: str, record: Mapping[str, Any]) -> str:
    colour = COLOURS[record["verdict"]]
    bar = (
        f'<div style="width:9em;background:rgba(128,128,128,.25)"><div style="width:{100 * record["score"]:.1f}%;height:.7em;'
        f'background:{colour}"></div></div>'
    )
    cells = [_escaped(name), f'<b style="color:{colour}">{record["verdict"]}</b>', bar]
    cells += [f"{record['score']:.3f}", f"{record['width']} x {record['height']}", _escaped(record["why"])]
    return f"<tr>{''.join(map(_cell, cells, HEADS.values()))}</tr>"


def _cell(content: str, side: str) -> str:
    return f"<td style=text-align:{side}>{content}</td>"


def _note(text: str) -> str:
    return f'<p style="opacity:.7;font-size:85%;max-width:46em">{text}</p>'


def _escaped(text: str) -> str:
    """Text as HTML; of a file name that is not UTF-8, as much as can be shown."""
    return html.escape(text.encode("utf-8", "replace").decode())
