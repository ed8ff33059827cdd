"""What ``kubectl kustomize`` makes of a directory, as far as cluster/kubernetes uses it; anything else there
is an error. Where there is a kubectl, a test compares the two."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml

LOCAL = "config.kubernetes.io/local-config"
FIELDS = {
    "apiVersion",
    "kind",
    "resources",
    "images",
    "configMapGenerator",
    "generatorOptions",
    "patches",
    "replacements",
}


def documents(file: Path) -> list[dict[str, Any]]:
    """All of a file; what anchors share is copied."""
    return [_unshared(document) for document in yaml.safe_load_all(file.read_text())]


def built(directory: Path) -> dict[str, dict[str, Any]]:
    """The objects of a kustomization, by their kind."""
    found = _accumulated(directory)
    return {kind: of for kind, of in found.items() if LOCAL not in of["metadata"].get("annotations", {})}


def _accumulated(directory: Path) -> dict[str, dict[str, Any]]:
    (customised,) = documents(directory / "kustomization.yaml")
    assert customised.keys() <= FIELDS, customised.keys() - FIELDS
    objects: dict[str, dict[str, Any]] = {}
    for resource in customised["resources"]:
        path = directory / resource
        new = _accumulated(path) if path.is_dir() else {of["kind"]: of for of in documents(path)}
        assert not objects.keys() & new.keys()
        objects |= new
    assert customised.get("generatorOptions", {"disableNameSuffixHash": True})["disableNameSuffixHash"]
    for made in customised.get("configMapGenerator", ()):
        data = {name: (directory / name).read_text() for name in made["files"]}
        objects["ConfigMap"] = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": made["name"]},
            "data": data,
        }
    for patch in customised.get("patches", ()):
        (operation,) = yaml.safe_load(patch["patch"])
        assert operation.pop("op") == "add"
        *way, last = operation["path"].strip("/").split("/")
        _at(objects[patch["target"]["kind"]], way)[last] = operation["value"]
    for image in customised.get("images", ()):
        _rename(objects, image["name"], image["newName"])
    for replacement in customised.get("replacements", ()):
        source = replacement["source"]
        value = _at(objects[source["kind"]], source["fieldPath"].split("."))
        for target in replacement["targets"]:
            for path in target["fieldPaths"]:
                *way, last = path.split(".")
                _at(objects[target["select"]["kind"]], way)[last] = copy.deepcopy(value)
    return objects


def _at(node: Any, way: list[str]) -> Any:
    for step in way:
        node = node[int(step)] if isinstance(node, list) else node[step]
    return node


def _rename(node: Any, name: str, new: str) -> None:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "image" and value.partition(":")[0] == name:
                node[key] = new + value[len(name) :]
            else:
                _rename(value, name, new)
    elif isinstance(node, list):
        for value in node:
            _rename(value, name, new)


def _unshared(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _unshared(value) for key, value in node.items()}
    return [_unshared(value) for value in node] if isinstance(node, list) else node
