"""What several tests of Classify share."""

import io
import re

from PIL import Image

from pages.ui.classify import pictures

CLASSES = tuple(f"c{i}" for i in range(10))


def png(size=(60, 40), colour="red"):
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return file.getvalue()


def put(app, *files):
    app.file_uploader(key="upload").set_value([(n, c, "image/png") for n, c in files]).run()
    assert not app.exception


def html(app):
    return "".join(element.proto.body for element in app.get("html"))


def articles(app):
    return re.findall(r"<article.*?</article>", html(app))


def figures(app):
    return "".join(markdown.value for markdown in app.markdown).replace("*", "")


def captions(app):
    return " ".join(caption.value for caption in app.caption)


def sample_names(app):
    return [b.key.removeprefix("sample_") for b in app.button if (b.key or "").startswith("sample")]


def quarters():
    """A picture 80×40, in four colors: red and green above blue and white."""
    image = Image.new("RGB", (80, 40), "red")
    image.paste("lime", (40, 0, 80, 20))
    image.paste("blue", (0, 20, 40, 40))
    image.paste("white", (40, 20, 80, 40))
    return image


def middle(pixels):
    return tuple(pixels[:, 16, 16].tolist())


def read(edit, image=None):
    file = io.BytesIO()
    (image or quarters()).save(file, "PNG")
    return pictures.read_upload("x", file.getvalue(), edit=edit)


def open_why(app, key="sample_cat"):
    app.session_state[f"why_{key}"] = True
    app.run()
    assert not app.exception
    return app


def heatmaps(app):
    return app.get("image")


def compare(page, first, second, *files):
    app = page(*files)
    app.selectbox(key="checkpoint").set_value(first).run()
    app.selectbox(key="checkpoint_2").set_value(second).run()
    assert not app.exception
    return app
