"""A page in headless Chromium: what stands in it once its script has run, and what the console said."""

import html
import re
import shutil
import subprocess

OFFLINE = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage", "--hide-scrollbars"),
    *("--enable-logging=stderr", "--virtual-time-budget=10000", "--run-all-compositor-stages-before-draw"),
)
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")

# The page stands in a frame as wide as a phone, unchanged, with its own policy; the script around it plays the reader.
READER = """<!doctype html><meta charset="utf-8">
<iframe style="width: {width}px; height: 800px; border: 0" srcdoc="{page}"></iframe><pre id="answer"></pre>
<script>
document.querySelector("iframe").addEventListener("load", (event) => {{
  const page = event.target.contentDocument;
  let answer;
  try {{ answer = ((page) => {{ {script} }})(page); }} catch (error) {{ answer = "failed: " + error; }}
  document.getElementById("answer").textContent = JSON.stringify(answer);
}});
</script>"""


def open_page(path, profile, *arguments):
    """Return the document after the script, and the lines of the console."""
    command = [BROWSER, *OFFLINE, f"--user-data-dir={profile}", *arguments, path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, encoding="utf-8", errors="replace")
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout, re.findall(r".*CONSOLE.*", done.stderr)


def read_page(page, script, folder, width=400):
    """Return what a script of a reader answers, as JSON; ``page`` in it is the document in a frame of that width."""
    reader = folder / "reader.html"
    text = READER.format(width=width, page=html.escape(page, quote=True), script=script)
    reader.write_text(text, encoding="utf-8")
    shown, console = open_page(reader, folder / "profile", "--dump-dom")
    assert console == []
    return html.unescape(re.search(r'<pre id="answer">(.*?)</pre>', shown, re.DOTALL)[1])
