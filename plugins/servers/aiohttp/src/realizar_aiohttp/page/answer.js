// One answer on the page: text as it comes, rendered when it is whole; or tokens with their probabilities.

import { render } from "./markdown.js";

export class Answer {
  constructor(talk) {
    this.text = "";
    this.tokens = [];
    this.body = document.createElement("div");
    this.tools = document.createElement("div");
    this.tools.className = "tools";
    this.node = document.createElement("article");
    this.node.className = "message assistant";
    this.node.setAttribute("aria-busy", "true");
    this.thought = document.createElement("details");
    this.thought.className = "thought";
    this.thought.hidden = true;
    const summary = document.createElement("summary");
    summary.textContent = "Reasoning";
    this.thoughts = document.createElement("div");
    this.thought.append(summary, this.thoughts);
    this.node.append(this.thought, this.body, this.tools);
    talk.append(this.node);
  }

  add(choice) {
    this.text += choice.delta?.content ?? "";
    this.thoughts.append(choice.delta?.reasoning_content ?? "");
    this.thought.hidden = !this.thoughts.textContent;
    this.tokens.push(...(choice.logprobs?.content ?? []));
    this.draw();
  }

  draw() {
    if (this.tokens.length) this.body.replaceChildren(...this.tokens.map(marked));
    else this.body.replaceChildren(render(this.text));
  }

  finish(reason) {
    this.node.removeAttribute("aria-busy");
    const copy = document.createElement("button");
    copy.type = "button";
    copy.textContent = "Copy";
    copy.addEventListener("click", async () => {
      await navigator.clipboard.writeText(this.text);
      copy.textContent = "Copied";
    });
    this.tools.replaceChildren(copy, reason);
  }

  fail(message) {
    this.node.classList.add("failed");
    this.node.removeAttribute("aria-busy");
    this.tools.replaceChildren(message);
  }
}

// A token, shaded by how unlikely it was; its alternatives are in the title.
function marked({ token, logprob, top_logprobs: top }) {
  const span = document.createElement("span");
  span.className = "token";
  span.style.setProperty("--p", Math.exp(logprob).toFixed(3));
  span.textContent = token;
  span.title = (top?.length ? top : [{ token, logprob }])
    .map((one) => `${JSON.stringify(one.token)}  ${(100 * Math.exp(one.logprob)).toFixed(1)} %`)
    .join("\n");
  return span;
}
