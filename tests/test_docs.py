"""Laws of the site: every notebook is a page, every link leads somewhere, nothing is fetched, formulas are drawn,
hidden cells stay hidden"""
import re
from html.parser import HTMLParser
import docs
import nbformat
import pytest
from execute import TOP, notebooks

class Asked(HTMLParser):
    "What a page asks a browser to fetch, where it links to, and its text outside code"
    def __init__(self, text):
        super().__init__()
        self.fetched, self.links, self.text, self.code = [], [], [], 0
        self.feed(text)
    def handle_starttag(self, tag, attrs):
        a = dict(attrs)
        self.code += tag in ('pre', 'code', 'style', 'script')
        if tag in ('img', 'script', 'source', 'iframe'): self.fetched.append(a.get('src') or '')
        if tag == 'link': self.fetched.append(a['href'])
        if tag == 'a': self.links.append(a.get('href') or '')
    def handle_endtag(self, tag): self.code -= tag in ('pre', 'code', 'style', 'script')
    def handle_data(self, data):
        if not self.code: self.text.append(data)

@pytest.fixture(scope='module')
def site(tmp_path_factory):
    out = tmp_path_factory.mktemp('docs')/'site'
    docs.build(out)
    return out

@pytest.fixture(scope='module')
def pages(site): return {f: Asked(f.read_text()) for f in site.rglob('*.html')}

def test_every_notebook_is_a_page_and_is_reached_from_every_other(site, pages):
    want = {site/docs.place(f.relative_to(TOP).as_posix()) for f in notebooks()}
    assert want <= set(pages) and (site/'index.html') in want
    for file, page in pages.items():
        reached = {(file.parent/l).resolve() for l in page.links if docs.is_relative(l)}
        assert want - reached <= {file}, file.name
        assert file.parent.name == 'api' or (site/'api/index.html').resolve() in reached, file.name

def test_every_link_leads_somewhere_and_nothing_is_fetched_from_elsewhere(pages):
    for file, page in pages.items():
        for l in (l for l in page.links + page.fetched if docs.is_relative(l) and not l.startswith(('#', 'data:'))):
            assert (file.parent/l.partition('#')[0]).exists(), f'{file.name}: {l}'
            target, _, part = l.partition('#')
            assert not part or f'id="{part}"' in (file.parent/target).read_text(), f'{file.name}: {l}'
        for part in (l[1:] for l in page.links if l.startswith('#')):
            assert f'id="{part}"' in file.read_text(), f'{file.name}: #{part}'
        assert all(docs.is_relative(l) or l.startswith('data:') for l in page.fetched), file.name
        assert '@import' not in file.read_text()

def test_formulas_are_drawn_and_directives_gone(pages):
    for file, page in pages.items():
        text = ' '.join(page.text)
        assert not re.search(r'\$\$|#\s*\|\s*(export|hide)', text), file.name
    metrics = next(f for f in pages if f.name == '04_metrics.html').read_text()
    assert '<math' in metrics and 'OKS' in metrics

def test_what_a_notebook_hides_is_not_shown_and_what_it_shows_is():
    v = nbformat.v4
    shown = v.new_output('display_data', data={'text/markdown': '| a |\n|---|\n| seen |'})
    nb = v.new_notebook(cells=[v.new_markdown_cell('# Title\n> promise'), v.new_code_cell('#| hide\nsecret = 1'),
                               v.new_code_cell('#| export\ndef given(): pass'),
                               v.new_code_cell('#| hide_input\nalso_secret = 1', outputs=[shown])])
    html = docs.body(docs.prepared(nb, 'nbs/x.ipynb', set()))
    assert ('secret' not in html and 'given' in html and 'seen' in html and html.count('class="code export"') == 1
            and '#|' not in html)

def test_formulas_leave_code_and_money_alone():
    assert (docs.formulas('`$x$` and $x^2$') == '`$x$` and ' + docs.formulas('$x^2$')
            and '<msup>' in docs.formulas('$x^2$'))
    assert docs.formulas('costs $5') == 'costs $5' and 'display="block"' in docs.formulas('$$x$$')

def test_a_link_into_nowhere_is_one_sentence(tmp_path):
    with pytest.raises(SystemExit, match='nbs/a.ipynb links to gone.ipynb'):
        docs.relinked('[x](gone.ipynb)', 'nbs/a.ipynb', {'nbs/b.ipynb'})
    assert docs.relinked('[x](../data/README.md#y)', 'nbs/a.ipynb', {'data/README.md'}) == '[x](data/README.html#y)'
    (tmp_path/'mine.txt').write_text('x')
    with pytest.raises(SystemExit, match='not this site'): docs.build(tmp_path)
    assert (tmp_path/'mine.txt').exists()


def test_every_exported_name_is_found_in_the_reference(site):
    import api
    index = (site/'api/index.html').read_text()
    for module in ('semipose.codecs', 'semipose.nets.peers', 'semipose.claims'):
        page = (site/f'api/{module}.html').read_text()
        for n in api.names(module):
            assert f'id="{n.anchor}"' in page and f'href="{module}.html#{n.anchor}"' in index, n.name
    assert ({f.stem for f in (site/'api').glob('semipose.*.html')} == set(api.modules(TOP))
            and len(api.modules(TOP)) > 40)


def test_the_reference_says_what_a_parameter_is():
    import api
    [encode] = [m for n in api.names('semipose.codecs') if n.name == 'Gaussian'
                for m in n.methods if m.name == 'Gaussian.encode']
    assert ('xy', 'Tensor', '', '(B,K,2) joints, crop px') in encode.rows and encode.rows[-1][0] == 'return'
    [outcome] = [n for n in api.names('semipose.watch') if n.name == 'outcome']
    assert outcome.head == 'outcome(rows)' and 'How a training ended' in outcome.text
    text = api.entry(api.Name('m', 'f', 'function', 'a < b', 'f(x)', [('x', 'int', '1', 'less < more')]))
    assert 'a &lt; b' in text and 'less &lt; more' in text


def test_the_toys_show_and_move_without_a_kernel_and_without_a_network(site, chromium):
    page, asked, wrong = chromium.new_page(viewport=dict(width=1440, height=900)), [], []
    page.on('request', lambda r: asked.append(r.url))
    page.on('pageerror', lambda e: wrong.append(str(e)))
    page.goto((site/'80_toys.html').as_uri())
    places = page.locator('.semipose-page')
    places.first.locator('canvas.main').wait_for()
    source = (site/'80_toys.html').read_text()
    assert places.count() == source.count('<div class="semipose-page"') == 3 and source.count('<script') == 3
    for toy in places.all():
        toy.scroll_into_view_if_needed()
        picture = lambda toy=toy: toy.locator('canvas.main').evaluate('c => c.toDataURL()')
        before, step = picture(), toy.evaluate('e => e.lab.step')
        toy.get_by_role('button', name='Play').click()
        page.wait_for_timeout(1500)
        toy.get_by_role('button', name='Pause').click()
        assert toy.evaluate('e => e.lab.step') > step and picture() != before
    page.reload()
    assert all(u.startswith(('file:', 'data:')) for u in asked) and not wrong, (asked, wrong)
    page.close()


def test_pages_without_a_toy_get_no_script(pages):
    assert ({f.name for f, page in pages.items() if '<script type="module">' in f.read_text()}
            == {f.name for f in pages if '<div class="semipose-page"' in f.read_text()})


def test_each_page_is_small(site):
    sizes = {f.relative_to(site).as_posix(): f.stat().st_size for f in site.rglob('*') if f.is_file()}
    assert max(sizes.values()) < 1.5e6, max(sizes, key=sizes.get)


def test_search_finds_pages_headings_and_names_without_a_network(site, chromium):
    page, asked, wrong = chromium.new_page(viewport=dict(width=1024, height=768)), [], []
    page.on('request', lambda r: asked.append(r.url))
    page.on('pageerror', lambda e: wrong.append(str(e)))
    for start in ('index.html', 'tutorials/01_first_look.html', 'api/semipose.codecs.html'):
        page.goto((site/start).as_uri())
        box, hits = page.get_by_label('search pages and names'), page.locator('#hits a')
        box.fill('joint cutout')                            # words of a heading or a name, in any order
        assert hits.count() >= 2 and all((site/start).parent.joinpath(h.partition('#')[0]).resolve().exists()
                                        for h in hits.evaluate_all("all => all.map(a => a.getAttribute('href'))"))
        box.fill('no such thing at all')
        assert hits.count() == 0 and page.locator('#hits').inner_text() == 'nothing found'
        box.fill('StepView')
        box.press('Enter')                                  # the name itself comes first
        page.wait_for_url('**/api/semipose.stepview.html#*')
        assert page.evaluate("document.getElementById(location.hash.slice(1)) !== null"), start
    page.goto((site/'index.html').as_uri())
    page.get_by_label('search pages and names').fill('a first look')
    assert page.locator('#hits a').first.get_attribute('href') == 'tutorials/01_first_look.html'
    assert all(u.startswith(('file:', 'data:')) for u in asked) and not wrong, (asked, wrong)
    page.close()


def test_a_narrow_screen_needs_no_sideways_scrolling(site, pages, chromium):
    "a phone: the front page, every tutorial, the reference, and the largest pages"
    largest = sorted(pages, key=lambda f: -f.stat().st_size)[:6]
    some = {site/'index.html', site/'api/index.html', site/'api/semipose.widgets.html', site/'80_toys.html',
            *(site/'tutorials').glob('*.html'), *largest}
    page, wide = chromium.new_page(viewport=dict(width=390, height=844)), {}
    for file in sorted(some):
        page.goto(file.as_uri())
        wide[file.name] = page.evaluate('document.documentElement.scrollWidth')
    page.close()
    assert all(w <= 390 for w in wide.values()), {k: w for k, w in wide.items() if w > 390}
