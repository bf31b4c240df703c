"""croissant.json: a corpus described in the Croissant format of MLCommons, version 1.0.

Format: https://docs.mlcommons.org/croissant/docs/croissant-spec.html
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from pipeline.ledger import Ledger
from pipeline.report.card import licences
from pipeline.schema import DOCUMENTS
from pipeline.storage import Root

_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
_FORMATS = {".parquet": "application/x-parquet", ".arrow": "application/vnd.apache.arrow.file"}


def croissant(root: Root, facts: dict[str, Any]) -> dict[str, Any]:
    """The description: every part of documents and every shard with its SHA-256, and the fields of a document."""
    parts = (output for row in Ledger(root).rows("ingest") for output in row.outputs)
    documents = sorted((part for part in parts if part["path"].startswith("documents/")), key=lambda o: o["path"])
    shards = [
        {**shard, "path": f"shards/{shard['path']}"} for split in facts["splits"].values() for shard in split["shards"]
    ]
    stated = sorted({name for source in facts["config"]["source"] for name in licences(source["licence"])})
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": facts["config"]["name"],
        "description": f"Text of public dumps; sources: {', '.join(facts['sources'])}. See README.md.",
        "license": stated,
        "inLanguage": list(facts["languages"]),
        "distribution": [_file(file) for file in [*documents, *shards]],
        "recordSet": [_records(part["path"]) for part in documents],
    }


def _file(file: dict[str, Any]) -> dict[str, Any]:
    suffix = file["path"][file["path"].rindex(".") :]
    return {
        "@type": "cr:FileObject",
        "@id": file["path"],
        "name": file["path"],
        "contentUrl": file["path"],
        "contentSize": f"{file['bytes']} B",
        "encodingFormat": _FORMATS[suffix],
        "sha256": file["sha256"],
    }


def _records(path: str) -> dict[str, Any]:
    name = path.removesuffix(".parquet")
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"{name}/{field.name}",
                "name": field.name,
                "dataType": _type(field.type),
                "source": {"fileObject": {"@id": path}, "extract": {"column": field.name}},
            }
            for field in DOCUMENTS
        ],
    }


def _type(kind: pa.DataType) -> str:
    if pa.types.is_integer(kind):
        return "sc:Integer"
    if pa.types.is_floating(kind):
        return "sc:Float"
    return "sc:Date" if pa.types.is_timestamp(kind) else "sc:Text"
