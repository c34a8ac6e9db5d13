"""`lfm demo`: a page that scores images in the browser, served from here or written for any static host."""

import argparse

from lfm_jax.verbs.arguments import add_weights_argument, make_folder, refuse

SUMMARY = "serve a page that scores images in the browser"
EXAMPLES = ("lfm demo", "lfm demo --weights=runs/tiny --out=page")


def add_arguments(verb: argparse.ArgumentParser) -> None:
    add_weights_argument(verb)
    verb.add_argument("--port", type=_port, default=8000, metavar="N", help="port to serve at, default 8000; 0 takes a free one")
    verb.add_argument(
        "--host", default="127.0.0.1", metavar="H", help="address to serve at, default 127.0.0.1, which only this machine can reach"
    )
    verb.add_argument("--out", metavar="DIR", help="write the page to this folder for any static host, and serve nothing")


def run(args: argparse.Namespace, rest: list[str]) -> int:
    refuse(args.parser, rest)
    from lfm_jax.export import demo
    from lfm_jax.runtime.progress import say
    from lfm_jax.weights import io as weights_io

    loaded = weights_io.load(args.weights)
    weights = demo.for_page(loaded)
    if weights is not loaded:
        say(f"lfm demo: the page scores under {weights.card.protocol}, not under the weights' own {loaded.card.protocol}")
    for caveat in weights.card.caveats([weights.card.protocol]):
        say(f"lfm demo: {caveat}")
    files = demo.page(weights)
    if args.out:
        with make_folder(args.out) as out:
            for name, content in files.items():
                (out.folder / name).write_bytes(content)
        print(f"{args.out}: {len(files)} files, {sum(map(len, files.values())) / 1e6:.1f} MB, for any static host")
        return 0
    with demo.serve(files, args.host, args.port) as server:
        print(f"http://{args.host}:{server.server_port}/   (Ctrl-C to stop)", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()
    return 0


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a port number, 0 to 65535")
    return int(text)
