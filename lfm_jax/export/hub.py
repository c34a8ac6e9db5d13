"""`--format=hub`: a folder to upload to the Hugging Face Hub, from which hf://OWNER/NAME then loads.

It holds model.safetensors with its card inside, the same card as config.json, and README.md, the model card for people,
whose head is in YAML for the Hub's index.
"""

import functools
import json
import os

from lfm_jax.errors import UserError
from lfm_jax.export.formats import Exported, export
from lfm_jax.runtime.storage import Mirror, as_path
from lfm_jax.weights import io as weights_io
from lfm_jax.weights.card import Card
from lfm_jax.weights.hub import FILE

CONFIG, README = "config.json", "README.md"


def export_hub(weights: weights_io.Weights, target: str | os.PathLike[str]) -> Exported:
    """Write the folder, and check the weights in it as `export` does. Other files in it are left alone.

    Raises:
      UserError: `target` is a file, or `export` refuses the weights.
      ParityError: the file computes something other than the network.
    """
    folder = as_path(target)
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{target} is a file; --format=hub writes a folder")
    exported = export(weights, folder / FILE, format="safetensors")
    card = weights_io.load(folder / FILE).card  # in float32, as the file is
    config = json.dumps({"library_name": "lfm_jax", **json.loads(card.to_json())}, indent=1)
    texts = {CONFIG: config, README: model_card(card, folder.name)}
    with Mirror(folder) as mirror:
        for name, text in texts.items():
            (mirror.folder / name).write_text(f"{text}\n", encoding="utf-8")
    return exported._replace(files=exported.files | {name: len(f"{text}\n".encode()) for name, text in texts.items()})


def model_card(card: Card, name: str) -> str:
    """README.md: what the card says, in words, under a head in YAML."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("lfm_jax.export", "."), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["json"] = functools.partial(json.dumps, indent=1, ensure_ascii=False)  # in the head too: JSON is YAML
    head = {
        "license": card.licence.lower() or "unknown",  # the Hub's names are those of SPDX in small letters
        "library_name": "lfm_jax",
        "pipeline_tag": "image-classification",
        "tags": ["ai-generated-image-detection", "image-forensics", "jax"],
    }
    return environment.get_template("hub_card.md.j2").render(name=name, head=head, card=card)
