"""`lfm weights`: which weights can be given by name, and whether their files are here."""

import argparse

from lfm_jax.errors import UserError
from lfm_jax.verbs.arguments import nearest, refuse
from lfm_jax.weights import named

SUMMARY = "list the weights that have a name, or fetch some"
EXAMPLES = ("lfm weights", "lfm weights lfm")


def add_arguments(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("names", nargs="*", metavar="NAME", help="fetch these and print where their files lie; default list all")


def run(args: argparse.Namespace, rest: list[str]) -> int:
    refuse(args.parser, rest)
    known = named.entries()
    for name in args.names:
        if name not in known:
            raise UserError(f"no weights are called {name}{nearest(name, known)}: there are {', '.join(known)}")
    for name in args.names:
        print(named.fetch(known[name]))
    if args.names:
        return 0
    from tabulate import tabulate

    rows = [(entry.name, f"{entry.size / 1e6:.1f} MB", entry.licence, _where(entry), entry.about) for entry in known.values()]
    print(tabulate(rows, headers=["name", "size", "licence", "file", "what they are"], disable_numparse=True))
    print(f"\n{named.default_name()} is used where no --weights are given. Fetched files are kept in {named.cache_folder()}.")
    return 0


def _where(entry: named.Entry) -> str:
    return ("fetched" if entry.urls else "in the package") if entry.is_here else "fetched at first use"
