"""Arguments of the verbs whose work Apache Beam can do."""

import argparse
from typing import TYPE_CHECKING

from lfm_jax.errors import UserError

if TYPE_CHECKING:
    from lfm_jax.data.prepare.beam import Beam


def add_beam_arguments(verb: argparse.ArgumentParser, *, same: str) -> None:
    verb.add_argument("--engine", choices=["beam"], help=f"hand the work to Apache Beam; {same}")
    verb.add_argument("--beam_options", metavar="...", help="Beam's own, in quotes; see docs/data.md")


def beam_of(args: argparse.Namespace) -> "Beam | None":
    """What --engine=beam and its options stand for; None without them. Raises UserError."""
    from lfm_jax.data.prepare.beam import Beam

    if args.beam_options is not None and not args.engine:
        raise UserError("--beam_options are of --engine=beam: give both, or neither")
    return Beam.parse(args.beam_options or "") if args.engine else None
