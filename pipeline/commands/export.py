"""`corpusmill export`."""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.commands.common import Commands, print_json, with_json
from pipeline.errors import CorpusmillError, UsageError

if TYPE_CHECKING:
    from pipeline.storage import Root


def add(commands: Commands) -> None:
    """Declare export."""
    export = commands.add(
        "export",
        "write the shards in the format of another trainer",
        "export corpus --format megatron --output exported",
        _export,
    )
    export.add_argument("corpus", help="folder or URL of the corpus")
    export.add_argument("--format", required=True, choices=("megatron", "nanogpt"), help=".bin and .idx, or flat .bin")
    export.add_argument("--output", required=True, metavar="DIR", help="folder for the files")
    export.add_argument("--split", action="append", help="a split; may be given several times; default: all")
    export.add_argument("--paranoid", action="store_true", help="hash shards again even if they were verified before")
    with_json(export)


def _corpus_around(output: Root) -> bool:
    """Whether a folder is a corpus, or lies in one."""
    from pipeline.storage import Root

    steps = output.url.split("/")
    above = range(len(steps), 1 if output.local else 2, -1)
    return any(Root("/".join(steps[:n])).size("ledger/config.json") is not None for n in above)


def _export(options: argparse.Namespace) -> int:
    from pipeline.shards import export
    from pipeline.shards.read import open_shards, read_index
    from pipeline.storage import Root

    corpus, output = Root(options.corpus), Root(options.output)
    if _corpus_around(output):
        raise UsageError(
            "a folder inside a corpus: its builds remove what is not theirs",
            file=output.url,
            mend="choose another --output",
        )
    folder = corpus.path("shards")
    model = corpus.read("tokenizer/tokenizer.model") if options.format == "nanogpt" else b""
    written: list[dict[str, Any]] = []
    for split in dict.fromkeys(options.split or sorted(read_index(folder)["splits"])):
        shards = open_shards(folder, split, options.paranoid)
        names = export.names(options.format, split)
        for name in names:
            if output.size(name) is not None:
                raise CorpusmillError(
                    "the file is there already", file=output.path(name), mend="delete it, or choose another --output"
                )
        with contextlib.ExitStack() as stack:
            paths = [Path(stack.enter_context(output.writing(name))) for name in names]
            export.write(shards, options.format, paths)
        written += [
            {"path": output.path(name), "documents": shards.n_docs, "tokens": shards.n_tokens} for name in names
        ]
    if model:
        from tokenizer.encode import load

        loaded = load(model)
        pieces = [loaded.processor.id_to_piece(number) for number in range(loaded.vocab_size)]
        output.write(export.META, export.nanogpt_meta(pieces))
        written.append({"path": output.path(export.META), "pieces": len(pieces)})
    if options.json:
        print_json(written)
    else:
        for file in written:
            counts = {name: n for name, n in file.items() if name != "path"}
            print(f"{file['path']}: " + ", ".join(f"{n:,} {name}" for name, n in counts.items()))
    return 0
