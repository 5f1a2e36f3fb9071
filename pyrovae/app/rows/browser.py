"""What runs in the browser: a brush on an image, and a field for files.

Both answer in the browser at once. The server gets the erased pixels when a stroke has ended, and
a file when it has been read. Neither loads anything from elsewhere.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from pyrovae.app.look import ACCENT, DARK, LINE, MUTED

__all__ = ["LIMIT", "brush", "file_field"]

LIMIT = 5  # MB of a file; the socket takes 20 MB with all that goes around it

BRUSH = """
const HOLD = 220  // milliseconds without a new stroke, after which the server is asked

export function render({model, el}) {
  const canvas = document.createElement('canvas'), ring = document.createElement('div')
  const stage = document.createElement('div'), bar = document.createElement('div')
  stage.className = 'stage'; ring.className = 'ring'; bar.className = 'bar'; canvas.className = 'brush'
  canvas.setAttribute('role', 'img')
  canvas.setAttribute('aria-label', 'Image: drag to erase pixels')
  stage.append(canvas, ring); el.append(stage, bar)
  let erased = [], version = 0, picture = null, last = null, timer = null, radius = 0

  const button = (text, action, title) => {
    const one = document.createElement('button')
    one.type = 'button'; one.textContent = text; one.title = title || ''
    one.onclick = () => { action(one) }
    return one
  }
  const group = document.createElement('span'); group.className = 'group'
  const sizes = [['S', 0.035], ['M', 0.075], ['L', 0.14]].map(([text, share]) => {
    const one = button(text, () => choose(one), 'size of the brush')
    one.share = share
    return one
  })
  const choose = one => {
    for (const other of sizes) other.setAttribute('aria-pressed', other === one)
    radius = Math.max(0.71, one.share * Math.max(model.across, model.down))
  }
  group.append(...sizes); choose(sizes[1])
  const half = right => fill((x, y) => (x >= model.across / 2) === right ? true : null)
  bar.append(group, button('Erase left half', () => half(false)))
  bar.append(button('Erase right half', () => half(true)))
  bar.append(button('Clear', () => fill(() => false), 'bring all pixels back'))

  const draw = () => {
    const ink = canvas.getContext('2d')
    ink.clearRect(0, 0, canvas.width, canvas.height)
    if (picture) ink.drawImage(picture, 0, 0, model.across, model.down)
    ink.fillStyle = '#8fc1e3'
    for (let i = 0; i < erased.length; i++) {
      if (erased[i]) ink.fillRect(i % model.across, Math.floor(i / model.across), 1, 1)
    }
  }
  const send = wait => {
    clearTimeout(timer)
    timer = setTimeout(() => {
      model.stroke = {version, erased: erased.map(gone => gone ? '1' : '0').join('')}
    }, wait)
  }
  const fill = rule => {
    for (let i = 0; i < erased.length; i++) {
      const gone = rule(i % model.across, Math.floor(i / model.across))
      if (gone !== null) erased[i] = gone
    }
    draw(); send(0)
  }
  const place = event => {
    const box = canvas.getBoundingClientRect()
    return [(event.clientX - box.left) / box.width * model.across,
            (event.clientY - box.top) / box.height * model.down]
  }
  const dab = (x, y) => {
    const inside = i => Math.hypot(i % model.across + 0.5 - x, Math.floor(i / model.across) + 0.5 - y)
    for (let i = 0; i < erased.length; i++) if (inside(i) <= radius) erased[i] = true
  }
  const stroke = event => {
    const [x, y] = place(event), [a, b] = last || [x, y]
    const steps = Math.max(1, Math.ceil(Math.hypot(x - a, y - b) / 0.5))
    for (let k = 1; k <= steps; k++) dab(a + (x - a) * k / steps, b + (y - b) * k / steps)
    last = [x, y]
    draw()
  }
  const follow = event => {
    const box = canvas.getBoundingClientRect(), size = 2 * radius * box.width / model.across
    ring.style.width = ring.style.height = size + 'px'
    ring.style.left = event.clientX - box.left - size / 2 + 'px'
    ring.style.top = event.clientY - box.top - size / 2 + 'px'
    ring.style.visibility = 'visible'
  }
  canvas.onpointerdown = event => {
    if (event.button) return
    clearTimeout(timer)
    canvas.setPointerCapture(event.pointerId)
    last = null; follow(event); stroke(event)
    event.preventDefault()
  }
  canvas.onpointermove = event => {
    follow(event)
    if (last && canvas.hasPointerCapture(event.pointerId)) stroke(event)
  }
  canvas.onpointerup = canvas.onpointercancel = event => { if (last) send(HOLD); last = null }
  canvas.onpointerleave = () => { ring.style.visibility = 'hidden' }

  const load = () => {
    clearTimeout(timer)
    version = model.version; last = null  // a stroke belongs to one image
    canvas.width = model.across; canvas.height = model.down
    erased = [...model.erased].map(one => one === '1')
    choose(sizes.find(one => one.getAttribute('aria-pressed') === 'true'))
    picture = null
    const image = new Image()
    image.onload = () => { picture = image; draw() }
    image.src = model.image
    draw()
  }
  model.on('version', load)
  load()
}
"""

BRUSH_STYLE = f"""
:host {{ font-size: 13px; color: {DARK}; }}
.stage {{ position: relative; line-height: 0; overflow: hidden; border: 1px solid {LINE};
  border-radius: 4px; }}
canvas {{ width: 100%; image-rendering: pixelated; touch-action: none; cursor: crosshair; }}
.ring {{ position: absolute; box-sizing: border-box; border: 1.5px solid #fff; outline: 1.5px solid {ACCENT};
  border-radius: 50%; pointer-events: none; visibility: hidden; }}
.bar {{ display: flex; flex-wrap: wrap; gap: 6px; margin-top: 8px; }}
.group {{ display: inline-flex; }}
button {{ font: inherit; height: 32px; min-width: 36px; padding: 0 9px; border: 1px solid #d4d4cf;
  border-radius: 6px; background: #fff; color: {DARK}; cursor: pointer; }}
button:hover {{ border-color: {ACCENT}; color: {ACCENT}; }}
button:focus-visible {{ outline: 2px solid {ACCENT}; }}
.group button {{ border-radius: 0; margin-left: -1px; }}
.group button:first-child {{ border-radius: 6px 0 0 6px; margin: 0; }}
.group button:last-child {{ border-radius: 0 6px 6px 0; }}
button[aria-pressed=true] {{ background: #e6f0f6; color: {ACCENT}; }}
"""

FILES = """
export function render({model, el}) {
  const label = document.createElement('label'), field = document.createElement('input')
  const text = document.createElement('span')
  label.className = 'drop'; field.type = 'file'; field.accept = model.accept
  text.innerHTML = '<b>Choose a file</b> or drop it here<br>'
  const note = document.createElement('small')
  note.textContent = model.note
  text.append(note); label.append(field, text); el.append(label)
  const read = file => {
    if (!file) return
    const sent = {name: file.name, size: file.size, content: '', at: Date.now()}
    if (file.size > model.limit * 1e6) { model.sent = sent; return }
    const reader = new FileReader()
    reader.onload = () => {
      model.sent = {...sent, content: reader.result.split(',')[1] || ''}
    }
    reader.readAsDataURL(file)
  }
  field.onchange = () => { read(field.files[0]); field.value = '' }
  label.ondragover = event => { event.preventDefault(); label.classList.add('over') }
  label.ondragleave = () => label.classList.remove('over')
  label.ondrop = event => {
    event.preventDefault(); label.classList.remove('over'); read(event.dataTransfer.files[0])
  }
}
"""

FILES_STYLE = f"""
:host {{ font-size: 13px; color: {DARK}; }}
.drop {{ display: block; border: 1.5px dashed #c9c9c3; border-radius: 8px; padding: 16px 12px;
  text-align: center; cursor: pointer; line-height: 1.5; }}
.drop:hover, .drop.over, .drop:focus-within {{ border-color: {ACCENT}; background: #f3f8fb; }}
.drop b {{ font-weight: 600; color: {ACCENT}; }}
small {{ font-size: 12px; color: {MUTED}; }}
input {{ position: absolute; opacity: 0; width: 1px; height: 1px; }}
"""


@cache
def brush() -> Any:  # noqa: ANN401
    """The class of the brush: an image whose pixels are erased by the mouse or by touch.

    Its parameters are the address of the image, its size in pixels (`across`, `down`), and `erased`
    with "1" for each erased pixel and "0" for the others, row by row. A new `version` makes the
    browser read them again. It answers with a `stroke`: what is `erased`, and of which `version`,
    since another image may have been chosen before the answer arrives.
    """
    import param
    from panel.custom import JSComponent

    class Brush(JSComponent):  # type: ignore[misc]
        image = param.String("")
        across = param.Integer(1)
        down = param.Integer(1)
        erased = param.String("0")
        stroke = param.Dict({})
        version = param.Integer(0)
        _esm = BRUSH

    return Brush


@cache
def file_field() -> Any:  # noqa: ANN401
    """The class of a field for one file.

    `sent` has the `name` of the file, its `size` in bytes, and its `content` in base64; a file that
    is too large is not read.
    """
    import param
    from panel.custom import JSComponent

    class FileField(JSComponent):  # type: ignore[misc]
        accept = param.String("")
        note = param.String("")
        limit = param.Integer(LIMIT)
        sent = param.Dict({})
        _esm = FILES

    return FileField
