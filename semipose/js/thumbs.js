// People to choose from: small pictures in one row, the way a number could not show them. One sprite holds all of them.
// Python puts GIVEN before this text (colours).

const STYLE = `
.semipose-thumbs { display:flex; align-items:center; gap:.5rem; max-width:100%; min-width:0; --focus:#3465c8;
  font:13px/1.3 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif; color:inherit }
.semipose-thumbs .row { display:flex; gap:3px; overflow-x:auto; padding:4px; scrollbar-width:thin; min-width:0 }
.semipose-thumbs button { flex:none; position:relative; padding:0; border:0; border-radius:4px; cursor:pointer;
  background:#e3e6ea no-repeat; outline:2px solid transparent; outline-offset:1px }
.semipose-thumbs button[aria-checked=true] { outline-color:${GIVEN.mark}; outline-width:3px }
.semipose-thumbs button:hover { filter:brightness(1.15) }
.semipose-thumbs button:focus-visible { outline:3px solid var(--focus); outline-offset:1px; box-shadow:0 0 0 5px #fff }
.semipose-thumbs button span { position:absolute; left:0; bottom:0; padding:0 3px; border-radius:0 4px 0 4px;
  background:rgba(27,31,36,.8); color:#fff; font-size:11px; line-height:15px }
.semipose-thumbs .name { white-space:nowrap }
`;

const make = (tag, props = {}, ...kids) => {
  const e = document.createElement(tag);
  for (const [k, v] of Object.entries(props)) k in e ? e[k] = v : e.setAttribute(k, v);
  e.append(...kids);
  return e;
};

class Row {
  constructor(model, el) {
    this.model = model;
    this.row = make('div', { className: 'row', role: 'radiogroup', ariaLabel: model.get('description') });
    this.name = make('span', { className: 'name', textContent: model.get('description') });
    const style = make('style', { textContent: STYLE });
    this.root = make('div', { className: 'semipose-thumbs' }, style, this.name, this.row);
    this.row.setAttribute('data-lm-suppress-shortcuts', 'true');
    el.append(this.root);
    el.style.minWidth = '0'; el.style.maxWidth = '100%';
    this.row.onkeydown = e => this.key(e);
    this.fill = () => this.build();
    this.turn = () => this.mark();
    for (const name of ['sprite', 'order', 'max']) model.on(`change:${name}`, this.fill);
    model.on('change:value', this.turn);
    this.build();
  }
  build() {
    const { model } = this, d = model.get('sprite'), [w, h] = model.get('size'), order = model.get('order');
    if (d && d.byteLength && d !== this.seen) {
      if (this.url) URL.revokeObjectURL(this.url);
      const bytes = new Uint8Array(d.buffer ?? d, d.byteOffset ?? 0, d.byteLength);
      this.url = URL.createObjectURL(new Blob([bytes], { type: 'image/jpeg' }));
      this.seen = d;
    }
    const focus = this.row.contains(document.activeElement);
    this.row.replaceChildren(...order.slice(0, model.get('max') + 1).map((who, i) => {
      const name = `person ${who}`, b = make('button', { type: 'button', title: name, ariaLabel: name });
      b.append(make('span', { textContent: who }));
      b.setAttribute('role', 'radio');
      Object.assign(b.style, { width: `${w}px`, height: `${h}px`, backgroundImage: `url(${this.url})`,
        backgroundPosition: `-${w * who}px 0`, backgroundSize: `${w * model.get('many')}px ${h}px` });
      b.onclick = () => this.choose(i);
      return b;
    }));
    this.mark(focus);
  }
  mark(focus = false) {
    const at = this.model.get('value');
    [...this.row.children].forEach((b, i) => {
      b.setAttribute('aria-checked', i === at);
      b.tabIndex = i === at ? 0 : -1;
    });
    const b = this.row.children[at];
    if (!b) return;
    const row = this.row, l = b.offsetLeft - row.offsetLeft, out = l + b.offsetWidth > row.scrollLeft + row.clientWidth;
    if (l < row.scrollLeft || out) row.scrollLeft = l - row.clientWidth / 2;
    if (focus || this.row.contains(document.activeElement)) b.focus({ preventScroll: true });
  }
  choose(i) {
    const at = Math.min(Math.max(i, 0), this.row.children.length - 1);
    this.model.set('value', at);
    this.model.save_changes();
    this.mark(true);
  }
  key(e) {
    const now = this.model.get('value');
    const to = { ArrowLeft: now - 1, ArrowUp: now - 1, ArrowRight: now + 1, ArrowDown: now + 1,
      Home: 0, End: this.row.children.length - 1 }[e.key];
    if (to === undefined || e.ctrlKey || e.metaKey || e.altKey) return;
    this.choose(to);
    e.preventDefault();
    e.stopPropagation();
  }
  leave() {
    for (const name of ['sprite', 'order', 'max']) this.model.off(`change:${name}`, this.fill);
    this.model.off('change:value', this.turn);
    if (this.url) URL.revokeObjectURL(this.url);
  }
}

export default {
  render({ model, el }) {
    const row = el.thumbs = new Row(model, el);
    return () => row.leave();
  },
};
