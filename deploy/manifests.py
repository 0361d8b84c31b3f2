"""`python -m deploy.manifests`: whether Kubernetes and KEDA take what deploy/k8s renders to.

Every kustomization is rendered by kustomize itself, and every object compared with its published schema: that
of Kubernetes's API, for the oldest and the newest version that are supported, or of KEDA's definitions.
Strictly: a field that a schema does not know is a fault, where a cluster would drop or refuse it.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml

from deploy.processes import PROJECT

FOLDER = PROJECT / "deploy" / "k8s"
VERSIONS = ("1.30", "1.37")
"""Of Kubernetes: what is between is taken as well."""
KEDA = "keda.sh/v1alpha1"

Object = dict[str, Any]


class NotRendered(Exception):
    """There is no kustomize, or it refused; what it said."""


def kustomizations() -> list[Path]:
    """Folders that can be applied as they are."""
    return [FOLDER / "base", *sorted(path.parent for path in FOLDER.glob("overlays/*/kustomization.yaml"))]


def rendered(folder: Path) -> list[Object]:
    """The objects that a kustomization makes. Raises NotRendered."""
    done = subprocess.run(
        [*_kustomize(), str(folder)], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise NotRendered(f"{folder.relative_to(PROJECT)}: {done.stderr.strip()}")
    return list(yaml.safe_load_all(done.stdout))


def _kustomize() -> list[str]:
    beside = Path(sys.executable).with_name("kubectl")
    for program, arguments in (
        (str(beside), ["kustomize"]),
        ("kubectl", ["kustomize"]),
        ("kustomize", ["build"]),
    ):
        if found := shutil.which(program):
            return [found, *arguments]
    raise NotRendered("there is no kubectl and no kustomize on this machine")


def faults(found: Object, version: str) -> list[str]:
    """What is wrong with an object, one line each."""
    name = f"{found.get('kind')} {found.get('metadata', {}).get('name')}"
    if found.get("apiVersion") == KEDA:
        errors = jsonschema.Draft202012Validator(keda_schema(found["kind"])).iter_errors(found)
        return [f"{name}: {error.json_path}: {error.message}" for error in errors]
    try:
        kubernetes_validate.validate(found, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [f"{name}: {error.json_path}: {error.message}"]
    except kubernetes_validate.SchemaNotFoundError as error:
        return [f"{name}: {error.message}"]
    return []


@functools.cache
def keda_schema(kind: str) -> Object:
    """The JSON schema of one of KEDA's kinds. Raises AttributeError where there is no such kind."""
    from cloudcoil.models.keda import v1alpha1  # half a second, and few need it

    schema: Object = _strict(getattr(v1alpha1, kind).model_json_schema(by_alias=True))
    return schema


def _strict(schema: Any) -> Any:
    """A schema that pydantic made, without fields that it does not list and without nulls in the place of
    what is left out: a definition of resources takes neither."""
    if isinstance(schema, list):
        return [_strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: _strict(part) for name, part in schema.items()}
    if isinstance(options := schema.get("anyOf"), list) and {"type": "null"} in options:
        [only] = [_strict(part) for part in options if part != {"type": "null"}]
        return only
    if schema.get("type") == "object" and "properties" in schema:
        found.setdefault("additionalProperties", False)
    return found


def main() -> int:
    wrong = []
    for folder in kustomizations():
        try:
            objects = rendered(folder)
        except NotRendered as error:
            print(error)
            return 1
        found = [f for version in VERSIONS for one in objects for f in faults(one, version)]
        wrong += [f"{folder.relative_to(PROJECT)}: {fault}" for fault in dict.fromkeys(found)]
    for fault in wrong:
        print(fault)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
