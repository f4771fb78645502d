"""What is generated from the kinds: `schemas/*.json` for editors, the reference page, and `crds/` for Kubernetes.

`python -m teleport.resources.render` writes them, `--check` compares.
"""

import io
import json
import sys
from collections.abc import Iterable
from typing import Any

from ruamel.yaml import YAML

from teleport.core.generated import generate
from teleport.resources.admission import admission
from teleport.resources.crds import crd
from teleport.resources.custom_kinds import CUSTOM_KINDS, GROUP
from teleport.resources.kinds import KINDS
from teleport.resources.reference import reference
from teleport.resources.schema import any_kind_schema, kind_schema

__all__ = ["rendered"]


def rendered() -> dict[str, str]:
    """Every generated file: its name within the repository, and its text."""
    schemas = {f"schemas/{cls.kind}.json": _json(kind_schema(cls)) for cls in KINDS.values()}
    definitions = {f"crds/{GROUP}_{kind.plural}.yaml": _yaml([crd(kind)]) for kind in CUSTOM_KINDS}
    policies = _yaml(document for kind in CUSTOM_KINDS for document in admission(kind))
    return {
        **schemas, "schemas/resource.json": _json(any_kind_schema()), "docs/resources.md": reference(),
        **definitions, "crds/admission.yaml": policies, "crds/kustomization.yaml": _kustomization(definitions),
    }  # fmt: skip


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _kustomization(files: Iterable[str]) -> str:
    names = [*(name.removeprefix("crds/") for name in files), "admission.yaml"]
    body = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": names}
    return _yaml([body])


def _yaml(documents: Iterable[Any]) -> str:
    """As `kubectl apply` takes it."""
    yaml: Any = YAML(typ="safe", pure=True)
    text = io.StringIO()
    yaml.default_flow_style, yaml.sort_base_mapping_type_on_output, yaml.width = False, False, 4096
    yaml.dump_all(documents, text)
    return "# Generated; see teleport/resources/render.py.\n" + text.getvalue()


if __name__ == "__main__":
    sys.exit(
        generate(
            "python -m teleport.resources.render", rendered(), sys.argv[1:], owned=["schemas/*.json", "crds/*.yaml"]
        )
    )
