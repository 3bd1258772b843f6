"""Cuts the thumbnails of the gallery and of README out of the pictures of the examples.

    python docs/draw_thumbnails.py

reads `docs/NAME.png`, which an example drew, and writes `docs/thumbnails/NAME.png`.
Both become pictures of few colours, which are small files. Needs Pillow, which matplotlib brings.
"""

from pathlib import Path

from PIL import Image, ImageOps

DOCS = Path(__file__).parent
SIZE = (480, 300)
# The part of a picture that is still read when it is small: left, top, right, bottom.
PARTS = {
    "image_functions": (0.0, 0.0, 0.42, 1.0),
    "lora_from_description": (0.0, 0.0, 0.52, 1.0),
    "pareto_front": (0.0, 0.0, 0.5, 1.0),
    "conditioned_cnn": (0.5, 0.0, 1.0, 1.0),
    "hyper_mnist": (0.53, 0.065, 0.79, 0.56),
    "compose_image_conditioned": (0.0, 0.0, 0.42, 1.0),
    "target_mlp_from_latent": (0.0, 0.0, 0.67, 1.0),
}


def few_colours(picture):
    return picture.convert("RGB").quantize(128, method=Image.Quantize.MEDIANCUT)


def main():
    (DOCS / "thumbnails").mkdir(exist_ok=True)
    for file in sorted(DOCS.glob("*.png")):
        picture = Image.open(file)
        if picture.mode != "P":
            few_colours(picture).save(file, optimize=True)
        picture = picture.convert("RGB")
        width, height = picture.size
        left, top, right, bottom = PARTS.get(file.stem, (0, 0, 1, 1))
        part = picture.crop((left * width, top * height, right * width, bottom * height))
        padded = ImageOps.pad(part, SIZE, Image.Resampling.LANCZOS, color="white")
        few_colours(padded).save(DOCS / "thumbnails" / file.name, optimize=True)


if __name__ == "__main__":
    main()
