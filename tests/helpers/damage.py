"""Ways in which files on a disk get damaged, each case a pure function of its number."""

import json
import random
import shutil
from pathlib import Path


def snapshot(folder):
    """{path in the folder: bytes} of all files in it."""
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def write(folder, files):
    """Make the folder hold these files and nothing else."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)


def truncate(content, rng):
    return content[: rng.randrange(max(len(content), 1))]


def flip(content, rng):
    damaged = bytearray(content)
    for _ in range(rng.choice([1, 1, 3])):
        if damaged:
            damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def empty(_content, _rng):
    return b""


def remove(_content, _rng):
    return None


def zeros(content, rng):
    """What a file system leaves of blocks that were never written."""
    start = rng.randrange(max(len(content), 1))
    return content[:start] + b"\0" * (len(content) - start)


def other_value(content, rng):
    """JSON, or one line of it, with one of its values replaced: well formed, and not what was written."""
    lines = content.split(b"\n")
    numbers = [number for number, line in enumerate(lines) if line.startswith(b"{") and line.endswith(b"}")]
    number = rng.choice(numbers) if numbers else None
    try:
        tree = json.loads(content if number is None else lines[number])
    except ValueError:
        return flip(content, rng)
    value = rng.choice([None, True, -1, 1e300, 10**30, "", "x", "../x", [], {}, [[]] * 3, {"a": 1}, float("nan")])
    tree = _replaced(tree, value, rng)
    if number is None:
        return json.dumps(tree).encode()
    lines[number] = json.dumps(tree).encode()
    return b"\n".join(lines)


def _replaced(tree, value, rng):
    keys = list(tree) if isinstance(tree, dict) else list(range(len(tree))) if isinstance(tree, list) else []
    if not keys or rng.random() < 0.1:
        return value
    key = rng.choice(keys)
    inside = value if rng.random() < 0.4 else _replaced(tree[key], value, rng)
    if isinstance(tree, dict):
        return {**tree, key: inside}
    return [*tree[:key], inside, *tree[key + 1 :]]


DISK = (truncate, truncate, flip, flip, flip, flip, empty, remove, zeros)  # what disks, kills and file systems do
ANYTHING = (*DISK, other_value, other_value, other_value, other_value)  # and what hands and other programs do


def damaged(files, number, *, damages=ANYTHING, only="*"):
    """The files of a folder with one of those that match `only` damaged, and in words how."""
    rng = random.Random(number)
    path = rng.choice([path for path in sorted(files) if path.match(only)])
    if rng.random() < 0.05:  # one file's content in another's place
        other = rng.choice(sorted(files))
        return {**files, path: files[other]}, f"case {number}: {other} in place of {path}"
    damage = rng.choice(damages)
    content = damage(files[path], rng)
    kept = {name: data for name, data in files.items() if name != path}
    return kept if content is None else {**kept, path: content}, f"case {number}: {damage.__name__} {path}"


def is_same_json(one, other):
    """Equality in which NaN is NaN."""
    return json.dumps(one, sort_keys=True, default=str) == json.dumps(other, sort_keys=True, default=str)


def only_folder(path):
    (folder,) = (entry for entry in Path(path).iterdir() if entry.is_dir())
    return folder
