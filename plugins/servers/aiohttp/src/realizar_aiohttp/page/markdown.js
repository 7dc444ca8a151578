// Markdown to DOM nodes. Text only ever becomes text nodes, so nothing in an answer can be markup; images stay text,
// and links are shown with where they lead.

const INLINE = /`([^`]+)`|\*\*([^*]+)\*\*|__([^_]+)__|\*([^*\s][^*]*)\*|\b_([^_]+)_\b|\[([^\]]+)\]\((https?:\/\/[^\s)]+)\)/;

export function render(text) {
  const fragment = document.createDocumentFragment();
  const lines = text.split("\n");
  let at = 0;
  while (at < lines.length) {
    const [node, next] = block(lines, at);
    if (node) fragment.append(node);
    at = next;
  }
  return fragment;
}

function block(lines, at) {
  const line = lines[at];
  if (!line.trim()) return [null, at + 1];
  if (line.startsWith("```")) return fence(lines, at);
  const heading = /^(#{1,6})\s+(.*)/.exec(line);
  if (heading) return [element(`h${Math.min(6, heading[1].length + 2)}`, heading[2]), at + 1];
  if (/^\s*([-*_])(\s*\1){2,}\s*$/.test(line)) return [document.createElement("hr"), at + 1];
  if (/^\s*(?:[-*+]|\d+[.)])\s+/.test(line)) return list(lines, at);
  if (line.startsWith(">")) return quote(lines, at);
  if (line.includes("|") && /^\s*\|?[\s:|-]+\|[\s:|-]*$/.test(lines[at + 1] ?? "")) return table(lines, at);
  let end = at + 1;
  while (end < lines.length && lines[end].trim() && !/^(```|#{1,6}\s|>|\s*[-*+]\s|\s*\d+[.)]\s)/.test(lines[end])) end++;
  return [element("p", lines.slice(at, end).join("\n")), end];
}

function fence(lines, at) {
  let end = at + 1;
  while (end < lines.length && !lines[end].startsWith("```")) end++;
  const code = document.createElement("code");
  code.textContent = lines.slice(at + 1, end).join("\n");
  const pre = document.createElement("pre");
  pre.tabIndex = 0;
  pre.append(code);
  return [pre, end + 1];
}

function list(lines, at) {
  const ordered = /^\s*\d/.test(lines[at]);
  const found = document.createElement(ordered ? "ol" : "ul");
  let end = at;
  for (; end < lines.length; end++) {
    const item = /^\s*(?:[-*+]|\d+[.)])\s+(.*)/.exec(lines[end]);
    if (!item) break;
    found.append(element("li", item[1]));
  }
  return [found, end];
}

function quote(lines, at) {
  let end = at;
  while (end < lines.length && lines[end].startsWith(">")) end++;
  const found = document.createElement("blockquote");
  found.append(render(lines.slice(at, end).map((line) => line.replace(/^>\s?/, "")).join("\n")));
  return [found, end];
}

function table(lines, at) {
  const cells = (line) => line.trim().replace(/^\||\|$/g, "").split("|").map((cell) => cell.trim());
  const found = document.createElement("table");
  const row = (line, tag) => {
    const tr = document.createElement("tr");
    tr.append(...cells(line).map((cell) => element(tag, cell)));
    found.append(tr);
  };
  row(lines[at], "th");
  let end = at + 2;
  for (; end < lines.length && lines[end].includes("|"); end++) row(lines[end], "td");
  return [found, end];
}

function element(tag, text) {
  const found = document.createElement(tag);
  inline(found, text);
  return found;
}

function inline(parent, text) {
  for (let rest = text; rest; ) {
    const match = INLINE.exec(rest);
    if (!match) return parent.append(rest);
    parent.append(rest.slice(0, match.index));
    const [, code, strong, strong2, em, em2, label, href] = match;
    if (code !== undefined) parent.append(plain("code", code));
    else if (strong ?? strong2) parent.append(element("strong", strong ?? strong2));
    else if (em ?? em2) parent.append(element("em", em ?? em2));
    else parent.append(link(label, href));
    rest = rest.slice(match.index + match[0].length);
  }
}

function plain(tag, text) {
  const found = document.createElement(tag);
  found.textContent = text;
  return found;
}

function link(label, href) {
  const found = plain("a", label);
  found.href = href;
  found.title = href;
  found.rel = "noopener noreferrer nofollow";
  found.target = "_blank";
  return found;
}
