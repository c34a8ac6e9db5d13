"""Completes the site: pages whose source lies elsewhere in the repository, and the tables of the configuration.

mkdocs calls these functions. Links between files of the repository become links between pages; a link to a file
that is not a page loses its target and keeps its text.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

import config_table  # mkdocs searches the folder of its hooks
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
ELSEWHERE = {
    "index.md": "README.md",
    "pods.md": "launch/README.md",
    "benchmarks.md": "benchmarks/README.md",
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "security.md": "SECURITY.md",
}
PAGE_OF = {source: page for page, source in ELSEWHERE.items()}
LINK = re.compile(r"\[([^\]]*)\]\(([^)\s]+)\)")


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Adds the pages that have no file of their own in docs/."""
    for name, source in ELSEWHERE.items():
        files.append(File.generated(config, name, content=(ROOT / source).read_text()))
    return files


def on_page_markdown(markdown: str, *, page: Page, **_: Any) -> str:
    """Turns the links of the repository into links of the site, and puts the tables under docs/configs.md."""
    name = page.file.src_uri
    folder = posixpath.dirname(ELSEWHERE.get(name, f"docs/{name}"))

    def relinked(match: re.Match[str]) -> str:
        text, target = match.groups()
        path, mark, anchor = target.partition("#")
        if not path or "://" in target:
            return match[0]
        source = posixpath.normpath(posixpath.join(folder, path))
        place = PAGE_OF.get(source) or (source.removeprefix("docs/") if source.startswith("docs/") else "")
        if not place:
            return text
        return f"[{text}]({posixpath.relpath(place, posixpath.dirname(name) or '.')}{mark}{anchor})"

    return LINK.sub(relinked, markdown) + (tables() if name == "configs.md" else "")


def tables() -> str:
    """The fields of the config, group by group, and the presets; docs/configs.md is their introduction."""
    return "\n" + config_table.page()[config_table.page().index("\n## ") :]
