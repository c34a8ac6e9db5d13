"""Hooks of mkdocs that add the pages written elsewhere in the repository: the READMEs, and the table of config fields.

Links between files of the repository become links between pages of the site.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

import config_table  # found because mkdocs puts the folder of its hooks on the path
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
ELSEWHERE = {
    "index.md": "README.md",
    "pods.md": "launch/README.md",
    "benchmarks.md": "benchmarks/README.md",
    "changelog.md": "CHANGELOG.md",
}
PAGE_OF = {source: page for page, source in ELSEWHERE.items()} | {"lfm_jax/config.py": "configs.md"}
LINK = re.compile(r"\[([^\]]*)\]\(([^)\s]+)\)")


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages that have no file of their own in docs/."""
    for name, source in ELSEWHERE.items():
        files.append(File.generated(config, name, content=(ROOT / source).read_text()))
    files.append(File.generated(config, "configs.md", content=config_table.page()))
    return files


def on_page_markdown(markdown: str, *, page: Page, **_: Any) -> str:
    """Turn links between files into links between pages. A file that is not a page is named without a link."""
    folder = posixpath.dirname(ELSEWHERE.get(page.file.src_uri, f"docs/{page.file.src_uri}"))

    def relinked(match: re.Match[str]) -> str:
        text, target = match.groups()
        path, mark, anchor = target.partition("#")
        if not path or "://" in target:
            return match[0]
        source = posixpath.normpath(posixpath.join(folder, path))
        place = PAGE_OF.get(source) or (source.removeprefix("docs/") if source.startswith("docs/") else "")
        return f"[{text}]({place}{mark}{anchor})" if place else text

    return LINK.sub(relinked, markdown)
