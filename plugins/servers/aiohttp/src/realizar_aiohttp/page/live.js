// What the engine is doing: numbers, the batch, and who holds which blocks of the cache.

import { request } from "./stream.js";

const PERIOD_MS = 500;
const MOST_BLOCKS = 2048;

export class Live {
  constructor(panel) {
    this.panel = panel;
    this.timer = null;
  }

  toggle() {
    this.panel.hidden = !this.panel.hidden;
    clearTimeout(this.timer);
    if (!this.panel.hidden) this.refresh();
  }

  async refresh() {
    try {
      const state = await (await request("/debug/state")).json();
      this.panel.replaceChildren(...state.models.flatMap(model));
    } catch (error) {
      this.panel.replaceChildren(text("p", `The state cannot be shown: ${error.message}`));
    }
    if (!this.panel.hidden) this.timer = setTimeout(() => this.refresh(), PERIOD_MS);
  }
}

function model({ id, stats, sequences }) {
  if (!stats) return [text("h2", id), text("p", "not loaded")];
  return [
    text("h2", id),
    facts({
      "running": stats.running,
      "waiting": stats.waiting,
      "tokens in the last step": stats.step_tokens,
      "tokens/s in it": stats.step_s ? Math.round(stats.step_tokens / stats.step_s) : 0,
      "blocks used": `${stats.blocks_used} of ${stats.blocks_total}`,
      "blocks to use again": stats.blocks_cached,
      "prompt tokens found again": `${stats.prefix_hits} of ${stats.prefix_queries}`,
      "given way": stats.preemptions,
    }),
    blocks(stats),
    ...sequences.flatMap(sequence),
  ];
}

function sequence({ id, tokens, computed, max_tokens: most }) {
  const bar = document.createElement("div");
  bar.className = "bar";
  const done = document.createElement("i");
  done.style.width = `${(100 * computed) / Math.max(1, most)}%`;
  bar.append(done);
  return [text("div", `${id}: ${computed} of ${tokens} tokens computed, at most ${most}`), bar];
}

function blocks(stats) {
  const scale = Math.min(1, MOST_BLOCKS / stats.blocks_total);
  const map = document.createElement("div");
  map.className = "blocks";
  map.setAttribute("role", "img");
  map.setAttribute("aria-label", `${stats.blocks_used} of ${stats.blocks_total} blocks used`);
  const counts = [["used", stats.blocks_used], ["cached", stats.blocks_cached]];
  counts.push(["", stats.blocks_total - stats.blocks_used - stats.blocks_cached]);
  for (const [name, count] of counts)
    for (let i = 0; i < Math.ceil(count * scale); i++) {
      const square = document.createElement("i");
      square.className = name;
      map.append(square);
    }
  return map;
}

function facts(values) {
  const list = document.createElement("dl");
  for (const [name, value] of Object.entries(values)) list.append(text("dt", name), text("dd", String(value)));
  return list;
}

function text(tag, content) {
  const found = document.createElement(tag);
  found.textContent = content;
  return found;
}
