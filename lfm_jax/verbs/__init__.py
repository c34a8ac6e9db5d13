"""The verbs of the `lfm` command, one module each: SUMMARY, EXAMPLES, add_arguments(parser), run(args, rest) -> exit status.

A module imports what its verb needs when it runs, so that `lfm --help` answers at once.
"""

from argparse import Namespace
from types import ModuleType

from lfm_jax.verbs import (
    bench,
    calibrate,
    compare,
    compile,
    convert,
    data_align,
    data_camera,
    data_check,
    data_decoder,
    data_look,
    data_prepare,
    demo,
    evaluate,
    explain,
    export,
    predict,
    sweep,
    train,
    weights,
)

VERBS: dict[str, ModuleType] = {
    "train": train,
    "evaluate": evaluate,
    "predict": predict,
    "explain": explain,
    "convert": convert,
    "export": export,
    "demo": demo,
    "weights": weights,
    "calibrate": calibrate,
    "compare": compare,
    "sweep": sweep,
    "compile": compile,
    "data check": data_check,
    "data prepare": data_prepare,
    "data align": data_align,
    "data camera": data_camera,
    "data decoder": data_decoder,
    "data look": data_look,
    "bench": bench,
}

# Those whose first line names the devices, and that --require can keep off a CPU.
COMPUTING = frozenset({"train", "evaluate", "predict", "explain", "export", "calibrate", "sweep", "bench"})


def takes_steps(args: Namespace) -> bool:
    """Whether a verb trains: the same step many times over, for which a CPU's memory is kept (`runtime.kept_memory`)."""
    return args.verb in ("train", "sweep", "data decoder") or (args.verb == "bench" and args.kind == "train")
