# SPDX-License-Identifier: AGPL-3.0-or-later
"""Writes samples/catalogues anew: `python -m samples.make_catalogues`. The same bytes every time.

Shapes of machines and names of packages and models are public; prices, stars, downloads and likes are made up, and all
texts were written for this sample.
"""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path

from samples.catalogue_models import MODELS, SENTENCES, SUBJECTS
from samples.catalogue_packages import PACKAGES

FOLDER = Path(__file__).resolve().parent / "catalogues"
_AS_OF = "2025-11-01"
_HOURS = 730

_GPU_HOURS = {
    "T4": 0.40, "L4": 0.75, "A10G": 1.05, "A10": 1.00, "V100": 2.40, "L40S": 1.60, "A100-40GB": 2.90,
    "A100-80GB": 3.60, "H100": 6.80, "H200": 8.40, "RTX 4090": 0.55, "RTX A6000": 0.85, "MI300X": 5.20,
}  # fmt: skip
_VRAM = {
    "T4": 16, "L4": 24, "A10G": 24, "A10": 24, "V100": 16, "L40S": 48, "A100-40GB": 40, "A100-80GB": 80, "H100": 80,
    "H200": 141, "RTX 4090": 24, "RTX A6000": 48, "MI300X": 192,
}  # fmt: skip

_REGIONS = {
    "aws": (("us-east-1", 1.0), ("us-west-2", 1.02), ("eu-central-1", 1.15), ("ap-southeast-1", 1.2)),
    "gcp": (("us-central1", 1.0), ("us-east4", 1.05), ("europe-west4", 1.1), ("asia-east1", 1.16)),
    "azure": (("eastus", 1.0), ("westus3", 1.03), ("westeurope", 1.14), ("southeastasia", 1.19)),
    "northwind": (("eu-north", 0.62), ("eu-west", 0.66)),
    "acornhost": (("us-central", 0.58), ("eu-central", 0.64)),
    "blauwolke": (("de-frankfurt", 0.7), ("de-berlin", 0.72)),
}

_SHAPES = {
    "aws": (
        ("g4dn.xlarge", "T4", 1, 4, 16), ("g4dn.12xlarge", "T4", 4, 48, 192), ("g5.xlarge", "A10G", 1, 4, 16),
        ("g5.12xlarge", "A10G", 4, 48, 192), ("g5.48xlarge", "A10G", 8, 192, 768), ("g6.12xlarge", "L4", 4, 48, 192),
        ("g6e.12xlarge", "L40S", 4, 48, 384), ("p4d.24xlarge", "A100-40GB", 8, 96, 1152),
        ("p5.48xlarge", "H100", 8, 192, 2048), ("m6i.xlarge", None, 0, 4, 16), ("m6i.4xlarge", None, 0, 16, 64),
        ("c6i.8xlarge", None, 0, 32, 64),
    ),
    "gcp": (
        ("n1-standard-8-t4", "T4", 1, 8, 30), ("g2-standard-8", "L4", 1, 8, 32), ("g2-standard-48", "L4", 4, 48, 192),
        ("a2-highgpu-1g", "A100-40GB", 1, 12, 85), ("a2-highgpu-4g", "A100-40GB", 4, 48, 340),
        ("a2-ultragpu-2g", "A100-80GB", 2, 24, 340), ("a3-highgpu-8g", "H100", 8, 208, 1872),
        ("n2-standard-4", None, 0, 4, 16), ("n2-standard-16", None, 0, 16, 64), ("c3-highcpu-44", None, 0, 44, 88),
    ),
    "azure": (
        ("Standard_NC4as_T4_v3", "T4", 1, 4, 28), ("Standard_NC6s_v3", "V100", 1, 6, 112),
        ("Standard_NV36ads_A10_v5", "A10", 1, 36, 440), ("Standard_NC24ads_A100_v4", "A100-80GB", 1, 24, 220),
        ("Standard_NC96ads_A100_v4", "A100-80GB", 4, 96, 880), ("Standard_ND96isr_H100_v5", "H100", 8, 96, 1900),
        ("Standard_D4s_v5", None, 0, 4, 16), ("Standard_D16s_v5", None, 0, 16, 64),
        ("Standard_E32s_v5", None, 0, 32, 256),
    ),
    "northwind": (
        ("nw-l40s-1", "L40S", 1, 16, 96), ("nw-l40s-4", "L40S", 4, 64, 384), ("nw-h200-8", "H200", 8, 192, 2048),
        ("nw-a6000-2", "RTX A6000", 2, 24, 128), ("nw-cpu-8", None, 0, 8, 32), ("nw-cpu-32", None, 0, 32, 128),
    ),
    "acornhost": (
        ("oak-4090-1", "RTX 4090", 1, 12, 64), ("oak-4090-4", "RTX 4090", 4, 48, 256),
        ("oak-a100-2", "A100-80GB", 2, 32, 256), ("oak-a100-4", "A100-80GB", 4, 64, 512),
        ("oak-h100-1", "H100", 1, 24, 192), ("oak-h100-2", "H100", 2, 48, 384), ("oak-cpu-4", None, 0, 4, 16),
    ),
    "blauwolke": (
        ("bw-l4-1", "L4", 1, 8, 48), ("bw-l4-2", "L4", 2, 16, 96), ("bw-a100-1", "A100-80GB", 1, 24, 192),
        ("bw-mi300x-1", "MI300X", 1, 24, 256), ("bw-mi300x-8", "MI300X", 8, 192, 2048),
        ("bw-cpu-8", None, 0, 8, 32), ("bw-cpu-64", None, 0, 64, 256),
    ),
}  # fmt: skip

_INSTANCE_COLUMNS = (
    "id", "provider", "name", "region", "gpu_model", "gpu_count", "vram_per_gpu_gb", "vram_gb", "vcpu", "ram_gb",
    "price_hourly", "price_monthly", "currency", "price_as_of", "price_source",
)  # fmt: skip


def instances() -> list[dict[str, object]]:
    """The machines; not each shape is in each region."""
    rows: list[dict[str, object]] = []
    for provider, shapes in _SHAPES.items():
        for number, (name, gpu, count, vcpu, ram) in enumerate(shapes):
            for place, (region, factor) in enumerate(_REGIONS[provider]):
                if place and (number + place) % 4 == 3:
                    continue
                hourly = vcpu * 0.021 + ram * 0.003 + (_GPU_HOURS[gpu] * count if gpu else 0)
                price = round(hourly * factor, 2)
                rows.append(
                    {
                        "id": f"{provider}/{region}/{name}".lower(),
                        "provider": provider,
                        "name": name,
                        "region": region,
                        "gpu_model": gpu or "",
                        "gpu_count": count,
                        "vram_per_gpu_gb": _VRAM[gpu] if gpu else 0,
                        "vram_gb": _VRAM[gpu] * count if gpu else 0,
                        "vcpu": vcpu,
                        "ram_gb": ram,
                        "price_hourly": price,
                        "price_monthly": round(price * _HOURS, 2),
                        "currency": "USD",
                        "price_as_of": _AS_OF,
                        "price_source": "sample",
                    }
                )
    return rows


def packages() -> list[dict[str, object]]:
    """The packages."""
    rows = []
    for name, version, description, keywords, official in PACKAGES:
        stars = 5 + _drawn(name, 900)
        rows.append(
            {
                "id": f"sample/{name}",
                "name": name,
                "version": version,
                "app_version": version,
                "description": description,
                "repository": "sample",
                "keywords": keywords.split(),
                "stars": stars,
                "official": official,
            }
        )
    return rows


def models() -> list[dict[str, object]]:
    """The models with their cards."""
    rows = []
    for model_id, tag, licence, size, subject in MODELS:
        rows.append(
            {
                "model_id": model_id,
                "pipeline_tag": tag,
                "license": licence,
                "downloads": 500 + _drawn(model_id, 4_000_000),
                "likes": 3 + _drawn(model_id + "!", 6_000),
                "parameters_b": size,
                "tags": [tag, "sample"],
                "updated_at": f"2025-{1 + _drawn(model_id, 10):02}-{1 + _drawn(model_id, 27):02}T00:00:00Z",
                "card": card(model_id, tag, licence, size, subject),
            }
        )
    return rows


def card(model_id: str, tag: str, licence: str, size: float, subject: str) -> str:
    """80 to 200 words about a model."""
    name = model_id.rpartition("/")[2]
    chosen = sorted(SENTENCES[tag], key=lambda sentence: _drawn(model_id + sentence, 10**9))
    parts = f"{size:g} billion" if size >= 1 else f"{size * 1000:g} million"
    use, limit = chosen[:3], chosen[3:5]
    return (
        f"# {name}\n\n{name} is a model for {SUBJECTS[tag]}: {subject}. It has about {parts} parameters and is "
        f"published under the licence {licence}. This card was written for a sample catalogue; its figures are made up."
        f"\n\n## Use\n\n{' '.join(use)}\n\n## Limits\n\n{' '.join(limit)} Results should be looked at by somebody who "
        "knows the subject before they are relied on, above all where people are affected by them. Weights in half "
        f"precision take about {max(0.1, size * 2):.1f} GB of memory, to which working memory is added.\n"
    )


def _drawn(text: str, below: int) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") % below


def main() -> None:
    """Write all files."""
    FOLDER.mkdir(exist_ok=True)
    with (FOLDER / "cloud_instances.csv").open("w", encoding="utf-8", newline="") as file:
        file.write("# Synthetic: shapes are public, prices are made up for this sample.\n")
        writer = csv.DictWriter(file, _INSTANCE_COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(instances())
    listed = ",\n".join(json.dumps(row, ensure_ascii=False) for row in packages())
    (FOLDER / "k8s_packages.json").write_text(f"[\n{listed}\n]\n", encoding="utf-8")
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in models())
    (FOLDER / "hf_models.jsonl").write_text(lines, encoding="utf-8")


if __name__ == "__main__":
    main()
