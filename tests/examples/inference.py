"""Answer a question, stream a text and continue several at once, with SmolLM2 (or the model named first)."""

from __future__ import annotations

import sys

from realizar import LLM, SamplingParams


def main(model: str = "smollm2") -> None:
    """Three ways to ask the same model."""
    with LLM(model) as llm:
        print(f"{model} on {llm.backend_name}, loaded in {llm.load_s:.2f} s")

        # A conversation goes through the model's own chat template.
        messages = [
            {"role": "system", "content": "You are a helpful assistant."},
            {"role": "user", "content": "Give me three facts about the Moon."},
        ]
        answer = llm.chat(messages, SamplingParams(temperature=0, max_tokens=48))
        print(f"chat: {answer.text!r} ({answer.finish_reason})")

        # A stream gives each piece as it is computed; the same seed gives the same text.
        print("stream:", end=" ")
        for piece in llm.stream("Once upon a time", SamplingParams(seed=7, top_p=0.9, max_tokens=16)):
            print(piece.text, end="", flush=True)
            if piece.completion is not None:
                timings = piece.completion.timings
                print(f"\nfirst token after {timings.ttft_s:.3f} s, the rest in {timings.decode_s:.3f} s")

        # Several prompts are computed side by side; log probabilities tell how sure the model was.
        prompts = ["The sky is", "Water boils at"]
        completions = llm.generate(prompts, SamplingParams(temperature=0, max_tokens=6, logprobs=2))
        for prompt, completion in zip(prompts, completions, strict=True):
            assert completion.logprobs is not None
            print(f"batch: {prompt + completion.text!r}, first token {completion.logprobs[0]}")


if __name__ == "__main__":
    main(*sys.argv[1:])
