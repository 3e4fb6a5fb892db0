#include "src/sample/page_style.h"

namespace wandistill {

const char* const kPageStyle = R"css(
:root {
  color-scheme: light dark;
  --paper: #fcfcfa; --ink: #24272c; --soft: #6c7178; --rule: #e4e4df; --fill: #f1f1ed;
  --accent: #1d5f9c; --warm: #c98a5b;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #16181b; --ink: #dcdee1; --soft: #8d939b; --rule: #2c2f34; --fill: #1f2226;
    --accent: #74b3e8; --warm: #b9835c;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; padding: 28px 32px 32px; background: var(--paper); color: var(--ink);
  font: 14px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Liberation Sans", sans-serif;
  font-variant-numeric: tabular-nums;
}
h1 { margin: 0; font-size: 20px; font-weight: 600; letter-spacing: -0.01em; overflow-wrap: anywhere; }
.soft { color: var(--soft); font-size: 12px; font-weight: 400; }
.summary { margin: 2px 0 24px; color: var(--soft); }
b { color: var(--ink); font-weight: 600; }
figure { margin: 0; }

.overview { display: flex; flex-wrap: wrap; gap: 24px 40px; align-items: flex-start; margin-bottom: 28px; }
.curve { flex: 1 1 440px; max-width: 720px; }
.curve svg { display: block; width: 100%; height: auto; }
.curve text { font-size: 12px; fill: var(--soft); }
.curve .end { text-anchor: end; }
.curve .middle { text-anchor: middle; }
.curve path { fill: none; }
.curve .rule { stroke: var(--rule); }
.curve .axis { stroke: var(--soft); }
.curve .loss { stroke: var(--warm); stroke-width: 1.2; stroke-linejoin: round; }
.curve path.validation { stroke: var(--accent); stroke-width: 1.8; stroke-linejoin: round; }
.curve circle { fill: var(--accent); }

.rounds { max-height: 272px; overflow: auto; }
.rounds table { border-collapse: separate; border-spacing: 0; font-size: 13px; }
.rounds th { position: sticky; top: 0; background: var(--paper); color: var(--soft); font-weight: 400; font-size: 12px; vertical-align: bottom; }
.rounds th, .rounds td { padding: 4px 12px; text-align: right; border-bottom: 1px solid var(--rule); white-space: nowrap; }
.rounds tr > :first-child { padding-left: 0; text-align: left; }
.rounds tr > :last-child { padding-right: 2px; }

.scroll { width: fit-content; max-width: 100%; overflow: auto; max-height: calc(100vh - 24px); border-top: 1px solid var(--rule); }
.grid { border-collapse: separate; border-spacing: 0; }
.grid th, .grid td { padding: 6px; border-bottom: 1px solid var(--rule); background: var(--paper); vertical-align: top; }
.grid thead th {
  position: sticky; top: 0; z-index: 1; padding: 8px 6px; text-align: left; font-size: 13px; font-weight: 500;
  white-space: nowrap;
}
.grid .label {
  position: sticky; left: 0; z-index: 1; width: 250px; min-width: 250px; max-width: 250px; padding: 8px 20px 8px 0;
  text-align: left; font-weight: 400;
}
.grid .teacher { position: sticky; right: 0; z-index: 1; padding-left: 12px; padding-right: 12px; background: var(--fill); }
.grid thead .label, .grid thead .teacher { z-index: 2; }
.grid thead .label { color: var(--soft); }
.grid thead .teacher { color: var(--accent); font-weight: 600; }
.prompt {
  display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 4; line-clamp: 4; overflow: hidden;
  margin-bottom: 2px; font-size: 13px; overflow-wrap: anywhere;
}
.shot { display: block; width: var(--width); height: var(--height); background: var(--fill); cursor: zoom-in; }
.shot:hover, .shot:focus-visible, .shot:target { outline: 2px solid var(--accent); outline-offset: 2px; }
.shot img { display: block; width: var(--width); height: var(--height); }
.pixelated { image-rendering: pixelated; }
.missing {
  width: var(--width); height: var(--height); padding: 6px; overflow: hidden; background: var(--fill);
  color: var(--soft); font-size: 11px; line-height: 1.35; overflow-wrap: anywhere;
}
.missing b { display: block; color: inherit; }
.teacher .missing { background: var(--rule); }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(max(var(--width), 160px), 1fr)); gap: 28px 24px; }
.gallery figcaption { margin-top: 8px; max-width: max(var(--width), 160px); }

dialog {
  width: 100vw; height: 100vh; max-width: none; max-height: none; margin: 0; padding: 16px 24px; border: 0;
  background: var(--paper); color: var(--ink);
}
dialog[open] { display: grid; grid-template-rows: auto minmax(0, 1fr) auto; gap: 14px; }
dialog header { display: flex; gap: 8px; align-items: center; }
dialog h2 { flex: 1; margin: 0 8px; font-size: 16px; font-weight: 600; }
dialog button {
  min-width: 36px; padding: 6px 12px; border: 1px solid var(--rule); border-radius: 4px; background: var(--fill);
  color: var(--ink); font: inherit; cursor: pointer;
}
dialog button:disabled { opacity: 0.4; cursor: default; }
dialog .stage { display: flex; align-items: center; justify-content: center; min-height: 0; cursor: zoom-out; }
dialog footer { max-width: 900px; max-height: 26vh; overflow: auto; margin: 0 auto; text-align: center; }
dialog .details { margin-top: 4px; white-space: pre-line; }

@media (max-width: 700px) {
  body { padding: 16px; }
  .grid .label { width: 130px; min-width: 130px; max-width: 130px; padding-right: 10px; }
  .grid .teacher { position: static; }
}
)css";

const char* const kPageDialog = R"html(
<dialog aria-label="enlarged picture">
<header>
<button class=back title="previous picture (left arrow)">←</button>
<button class=on title="next picture (right arrow)">→</button>
<h2></h2>
<button class=close title="close (Escape)">✕</button>
</header>
<div class=stage><img alt=""></div>
<footer><div class=text dir=auto></div><div class="details soft"></div></footer>
</dialog>
)html";

const char* const kPageScript = R"js(
(() => {
  const dialog = document.querySelector('dialog'), part = name => dialog.querySelector(name);
  const stage = part('.stage'), image = part('img'), back = part('.back'), on = part('.on');
  const scroll = document.querySelector('.scroll');
  let shot = null;

  // Pictures beside this one: other epochs of its prompt, or the gallery's others.
  const beside = step => {
    const all = [...shot.closest('.row').querySelectorAll('.shot')];
    return all[all.indexOf(shot) + step];
  };
  // The same epoch of the next prompt that has a picture there.
  const below = step => {
    const cell = shot.closest('td');
    for (let row = cell?.parentElement; row; ) {
      row = step > 0 ? row.nextElementSibling : row.previousElementSibling;
      const other = row?.cells[cell.cellIndex].querySelector('.shot');
      if (other) return other;
    }
  };
  // As large as fits; small pictures by a whole factor, so that their pixels stay square.
  const fit = () => {
    const {naturalWidth: width, naturalHeight: height} = image;
    if (!width) return;
    let factor = Math.min(stage.clientWidth / width, stage.clientHeight / height);
    if (factor > 1) factor = Math.floor(factor);
    image.className = factor > 1 ? 'pixelated' : '';
    image.width = width * factor;
    image.height = height * factor;
  };
  const show = next => {
    if (!next) return;
    shot = next;
    const [name, ...details] = shot.title.split('\n');
    part('h2').textContent = name;
    part('.details').textContent = details.join('\n');
    part('.text').textContent = (shot.closest('figure') ?? shot.closest('.row')).querySelector('.prompt').textContent;
    back.disabled = !beside(-1);
    on.disabled = !beside(1);
    if (!dialog.open) dialog.showModal();
    image.src = shot.href;
    fit();
    history.replaceState(null, '', '#' + shot.id);
  };

  image.addEventListener('load', fit);
  addEventListener('resize', fit);
  document.addEventListener('click', event => {
    const link = event.target.closest('.shot');
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    show(link);
  });
  back.addEventListener('click', () => show(beside(-1)));
  on.addEventListener('click', () => show(beside(1)));
  part('.close').addEventListener('click', () => dialog.close());
  stage.addEventListener('click', () => dialog.close());
  dialog.addEventListener('keydown', event => {
    const next = {ArrowLeft: () => beside(-1), ArrowRight: () => beside(1),
                  ArrowUp: () => below(-1), ArrowDown: () => below(1)}[event.key];
    if (!next) return;
    event.preventDefault();
    show(next());
  });
  dialog.addEventListener('close', () => {
    history.replaceState(null, '', location.pathname + location.search);
    shot.focus();
  });

  // The newest epoch is what a reader comes for; a link with #p0-12 opens that picture.
  if (scroll) scroll.scrollLeft = scroll.scrollWidth;
  const linked = document.getElementById(location.hash.slice(1));
  if (linked) show(linked);
})();
)js";

}  // namespace wandistill
