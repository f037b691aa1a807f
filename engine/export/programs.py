"""Programs that are written beside an exported network: each classifies one picture."""

# As engine.data.images: transparency over white, then the central square or black bars.
SQUARE = """picture = ImageOps.exif_transpose(Image.open(sys.argv[1])).convert("RGBA")
white = Image.new("RGBA", picture.size, "white")
picture = Image.alpha_composite(white, picture).convert("RGB")
fit, bicubic = about["fit"], Image.Resampling.BICUBIC
if fit == "crop":
    square = ImageOps.fit(picture, (32, 32), bicubic)
else:
    square, small = Image.new("RGB", (32, 32)), ImageOps.contain(picture, (32, 32), bicubic)
    square.paste(small, ((32 - small.width) // 2, (32 - small.height) // 2))
"""

ONNX = (
    '''"""Classify a picture: python use.py PICTURE (pip install onnxruntime numpy pillow)."""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

session = onnxruntime.InferenceSession(Path(__file__).with_name("model.onnx"))
about = session.get_modelmeta().custom_metadata_map
classes = json.loads(about["classes"])

'''
    + SQUARE
    + """pixels = np.asarray(square).transpose(2, 0, 1)
probabilities = session.run(None, {"images": pixels[None]})[0][0]

for i in probabilities.argsort()[::-1][:5]:
    print(f"{classes[i]:20} {100 * probabilities[i]:6.2f} %")
"""
)

PT2 = (
    '''"""Classify a picture: python use.py PICTURE (pip install torch numpy pillow)."""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

files = {"about.json": ""}
network = torch.export.load(Path(__file__).with_name("model.pt2"), extra_files=files).module()
about = json.loads(files["about.json"])
classes = json.loads(about["classes"])

'''
    + SQUARE
    + """pixels = np.array(square).transpose(2, 0, 1)
probabilities = network(torch.from_numpy(pixels[None]))[0].tolist()

for i in sorted(range(len(classes)), key=lambda i: -probabilities[i])[:5]:
    print(f"{classes[i]:20} {100 * probabilities[i]:6.2f} %")
"""
)

SAFETENSORS = '''"""Classify a picture: python PATH/use.py PICTURE, in the playground's folder."""

import json
import sys
from pathlib import Path

import torch
from safetensors import safe_open

sys.path.insert(0, "")
from engine.models import build_model
from engine.predict import decode_image, to_input

with safe_open(Path(__file__).with_name("model.safetensors"), "pt") as file:
    about = file.metadata()
    weights = {name: file.get_tensor(name) for name in file.keys()}
network = build_model(**json.loads(about["architecture"])).eval()
network.load_state_dict(weights)
classes = json.loads(about["classes"])
mean, std = (torch.tensor(json.loads(about[key])).view(3, 1, 1) for key in ("mean", "std"))

pixels = to_input(decode_image(Path(sys.argv[1]).read_bytes()), about["fit"])
with torch.no_grad():
    logits = network((pixels[None] / 255 - mean) / std)
temperature = float(about.get("temperature", 1))  # 1: not calibrated
probabilities = (logits / temperature).softmax(1)[0].tolist()

for i in sorted(range(len(classes)), key=lambda i: -probabilities[i])[:5]:
    print(f"{classes[i]:20} {100 * probabilities[i]:6.2f} %")
'''
