"""The page of `demo.py --web`: its parts, texts and colours."""

from pathlib import Path

from skimage import data

from mpn.demo.drawing import LAYERS

# Photographs that scikit-image ships: an astronaut, a photographer, and a cat, on which nobody is to be found.
EXAMPLES = [Path(data.__file__).with_name(name) for name in ("astronaut.png", "camera.png", "chelsea.png")]

MOST_MEGABYTES = 20
_MOST_WAITING = 50  # requests in the queue
_HEIGHT = 440  # of both pictures
# Seconds between looks for files that are so many seconds old.
_FILES_ARE_DELETED = (600, 3600)

_TITLE = "MultiPoseNet"
_HEAD = f"""
<h1>{_TITLE}</h1>
<p>Drop a photo, and the network finds everyone in it: 17 keypoints, a box and a silhouette for each person.</p>
"""
_KINDS = f"JPEG, PNG, WebP, AVIF, GIF, BMP or TIFF, up to {MOST_MEGABYTES} MB"
_PLACEHOLDER = f"# Drop a photo here\nor click to choose one\n{_KINDS}"
_FOOT = "<p>Photos stay on the computer that runs this page, and are deleted after about an hour.</p>"

_STYLE = """
.gradio-container { width: 100%; max-width: 1180px !important; margin: 0 auto !important; }
#head h1 { font-size: 2.3rem; font-weight: 800; margin: .6rem 0 .1rem; letter-spacing: -.02em; width: fit-content; }
#head h1 { background: linear-gradient(90deg, #ff7a1a, #f0469b, #4b73ff); background-clip: text; color: transparent; }
#head p { font-size: 1.05rem; opacity: .8; margin: 0 0 .4rem; }
#said p, #refused p { margin: 0; font-size: 1.05rem; }
#refused:has(p[hidden]) { display: none; }
.problem:not([hidden]) { display: block; padding: .6rem .9rem; border-radius: .5rem; background: #fde8e8; }
.problem { color: #9b1c1c; }
#drawing:has(img) [data-testid="block-label"] { display: none; }  /* it would hide a score */
#foot p { font-size: .85rem; opacity: .65; text-align: center; }
"""

# Refuses files before they are sent. Without it, Gradio's own words would vanish after some seconds.
_REFUSE = f"""
() => {{
    const problem = (file) => {{
        if (file.type.startsWith("video/"))
            return `'${{file.name}}' is a video, and this page takes photos: run demo.py on the file`;
        if (!file.type.startsWith("image/"))
            return `'${{file.name}}' is not an image: choose a photo`;
        if (file.size > {MOST_MEGABYTES} * 2 ** 20)
            return `'${{file.name}}' has more than {MOST_MEGABYTES} MB: choose a smaller photo`;
    }};
    const check = (event) => {{
        const file = (event.dataTransfer ?? event.target).files?.[0];
        if (!file || !event.target.closest("#photo")) return;
        const sentence = problem(file);
        const line = document.querySelector("#refused p");
        line.textContent = sentence ?? "";
        line.hidden = !sentence;
        if (sentence) {{
            event.preventDefault();
            event.stopImmediatePropagation();
        }}
    }};
    for (const kind of ["change", "drop"]) document.addEventListener(kind, check, true);
}}
"""

# Options of gradio.Blocks.launch: nothing of the page is published, recorded or asked of other servers.
LAUNCH = {
    "share": False,
    "prevent_thread_lock": True,
    "quiet": True,
    "max_file_size": f"{MOST_MEGABYTES}mb",
    "footer_links": [],
    "run_history": False,
    "enable_monitoring": False,
    "mcp_server": False,
    "ssr_mode": False,
    "pwa": False,
    "css": _STYLE,
    "js": _REFUSE,
}


def build_page(gradio, show, threshold, refine):
    """The page, a gradio.Blocks.

    Args:
        gradio: the module.
        show: function of a photograph, layers, least score and refinement; see `mpn.demo.web.Viewer.show`.
        threshold: the least score at the start.
        refine: whether refinement can be chosen; it is on at the start.
    """
    with gradio.Blocks(title=_TITLE, analytics_enabled=False, delete_cache=_FILES_ARE_DELETED) as page:
        gradio.HTML(_HEAD, elem_id="head")
        with gradio.Row(equal_height=False):
            with gradio.Column():
                photo = gradio.Image(
                    label="Photo",
                    type="filepath",
                    sources=["upload", "webcam", "clipboard"],
                    height=_HEIGHT,
                    placeholder=_PLACEHOLDER,
                    buttons=[],
                    elem_id="photo",
                )
                gradio.HTML('<p class="problem" hidden></p>', elem_id="refused")
                examples = [[str(path)] for path in EXAMPLES]
                gradio.Examples(examples, [photo], label="Or try one of these", cache_examples=False)
                names = [(layer.capitalize(), layer) for layer in LAYERS]
                layers = gradio.CheckboxGroup(names, value=list(LAYERS), label="Show", elem_id="layers")
                least = gradio.Slider(0, 1, threshold, step=0.05, label="Least score of a person", elem_id="least")
                label = "Refine: look at each person again, for better keypoints"
                again = gradio.Checkbox(bool(refine), label=label, visible=bool(refine), elem_id="refine")
            with gradio.Column():
                drawing = gradio.Image(
                    label="People",
                    interactive=False,
                    height=_HEIGHT,
                    buttons=["download", "fullscreen"],
                    elem_id="drawing",
                )
                said = gradio.HTML(elem_id="said")
                file = gradio.DownloadButton("Download JSON", interactive=False, variant="primary", elem_id="file")
                with gradio.Accordion("Look at the JSON", open=False):
                    content = gradio.JSON(show_label=False, max_height=_HEIGHT, elem_id="content")
        gradio.HTML(_FOOT, elem_id="foot")

        def update(*inputs):
            picture, sentence, path, value = show(*inputs)
            return picture, sentence, gradio.DownloadButton(value=path, interactive=path is not None), value

        gradio.on(
            [photo.change, layers.change, least.release, again.change],
            update,
            [photo, layers, least, again],
            [drawing, said, file, content],
            preprocess=False,  # a damaged file must reach `show`
            trigger_mode="always_last",
            concurrency_id="network",
            api_visibility="private",
        )
    page.queue(max_size=_MOST_WAITING, default_concurrency_limit=1)
    return page
