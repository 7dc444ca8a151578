// The page: a conversation with one of the served models.

import { Answer } from "./answer.js";
import { Live } from "./live.js";
import { chat, request, useKey } from "./stream.js";

const at = (id) => document.getElementById(id);
const [talk, ask, text, controls] = ["talk", "ask", "text", "controls"].map(at);
const live = new Live(at("live"));
const NUMBERS = ["temperature", "top_p", "top_k", "min_p", "max_tokens", "seed"];

let messages = [];
let running = null;

async function listModels() {
  try {
    const { data } = await (await request("/v1/models")).json();
    at("model").replaceChildren(...data.map(({ id }) => new Option(id, id)));
    at("rate").textContent = "";
  } catch (error) {
    at("rate").textContent = error.message;
  }
}

function sampling() {
  const form = new FormData(controls);
  const numbers = NUMBERS.filter((name) => form.get(name) !== "").map((name) => [name, Number(form.get(name))]);
  const logprobs = form.get("logprobs") ? { logprobs: true, top_logprobs: 5 } : {};
  return { ...Object.fromEntries(numbers), ...logprobs };
}

function conversation() {
  const system = new FormData(controls).get("system").trim();
  return system ? [{ role: "system", content: system }, ...messages] : messages;
}

function showQuestion(content) {
  talk.querySelector(".hint")?.remove();
  const node = document.createElement("article");
  node.className = "message user";
  node.textContent = content;
  talk.append(node);
}

async function send(content) {
  showQuestion(content);
  messages.push({ role: "user", content });
  const answer = new Answer(talk);
  running = new AbortController();
  busy(true);
  try {
    const reason = await receive(answer, running.signal);
    answer.finish(reason === "length" ? "cut at the most tokens" : "");
    messages.push({ role: "assistant", content: answer.text });
  } catch (error) {
    if (error.name === "AbortError") {
      answer.finish("stopped");
      messages.push({ role: "assistant", content: answer.text });
    } else answer.fail(error.message);
  } finally {
    running = null;
    busy(false);
  }
}

async function receive(answer, signal) {
  const body = {
    model: at("model").value, messages: conversation(), stream: true, stream_options: { include_usage: true },
    ...sampling(),
  };
  let first = null, count = 0, reason = null;
  for await (const event of chat(body, signal)) {
    const choice = event.choices[0];
    if (!choice) continue;
    if (choice.delta?.content || choice.delta?.reasoning_content) {
      first ??= performance.now();
      count++;
      const seconds = (performance.now() - first) / 1000;
      if (seconds > 0.2) at("rate").textContent = `${((count - 1) / seconds).toFixed(1)} tokens/s`;
    }
    answer.add(choice);
    reason = choice.finish_reason ?? reason;
    talk.scrollTop = talk.scrollHeight;
  }
  return reason;
}

function busy(is) {
  at("send").hidden = is;
  at("stop").hidden = !is;
  if (!is) text.focus();
}

function toggle(button, panel) {
  button.addEventListener("click", () => {
    if (panel === live) live.toggle();
    else panel.hidden = !panel.hidden;
    button.setAttribute("aria-expanded", String(!(panel.panel ?? panel).hidden));
  });
}

function startAnew() {
  running?.abort();
  messages = [];
  talk.replaceChildren();
  text.focus();
}

ask.addEventListener("submit", (event) => {
  event.preventDefault();
  const content = text.value.trim();
  if (!content || running) return;
  text.value = "";
  send(content);
});
text.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    ask.requestSubmit();
  }
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") running?.abort();
  if (event.key.toLowerCase() === "o" && event.ctrlKey && event.shiftKey) {
    event.preventDefault();
    startAnew();
  }
});
controls.addEventListener("submit", (event) => event.preventDefault());
controls.elements.key.addEventListener("change", (event) => {
  useKey(event.target.value.trim());
  listModels();
});
at("stop").addEventListener("click", () => running?.abort());
at("new").addEventListener("click", startAnew);
toggle(at("show-controls"), controls);
toggle(at("show-live"), live);
listModels();
