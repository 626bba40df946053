"""One job, timed from after the imports to its end; prints one line of JSON.

    python experiments/benchmarks/jobs.py NAME --weights mini --folder DIR

`peers.py` runs these in processes of their own. Ours and the peers' read the same
rows, and start from the same weights.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import resource
import sys
import time
from pathlib import Path

import numpy as np

BATCH, EPOCHS, EVERY, FEW, WIDTH, PAD = 8, 5, 50, 5, 120, 50256


def ours(name: str, arguments: argparse.Namespace):
    """`gpt2-jax finetune`, with all that it writes."""
    # Not used here, but by the run: imports are not timed.
    import matplotlib.pyplot  # noqa: F401
    import sklearn.linear_model  # noqa: F401

    from gpt2_jax.compilation import keep_compiled_programs
    from gpt2_jax.config import FINETUNE_PRESETS
    from gpt2_jax.training.loop import finetune

    preset = FINETUNE_PRESETS["book" if name == "ours-book" else "default"]
    config = dataclasses.replace(
        preset,
        weights=arguments.weights,
        data=dataclasses.replace(preset.data, source="sms-spam"),
    )

    def run() -> dict:
        if arguments.cache:
            keep_compiled_programs()
        results = finetune(config, arguments.folder / f"{name}-{time.time_ns()}")
        return {
            "phases": results["seconds"],
            "accuracy": results["accuracy"],
            "compilation_cache": results["compilation_cache"],
        }

    return run


def ours_predict(name: str, arguments: argparse.Namespace):
    """`Classifier` on every message, as raw texts."""
    from gpt2_jax.compilation import keep_compiled_programs
    from gpt2_jax.inference.classifier import Classifier

    texts = messages()

    def run() -> dict:
        if arguments.cache:
            keep_compiled_programs()
        classifier = Classifier.load(arguments.folder / "classifier")
        return {"texts": len(classifier.predict_proba(texts))}

    return run


def messages() -> list[str]:
    from gpt2_jax.config import DataConfig
    from gpt2_jax.data.sources import load_dataset

    return list(load_dataset(DataConfig(source="sms-spam"), to_train=False).texts)


def book_rows() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return tokens [N, 120] and labels [N] of the book's three parts."""
    from gpt2_jax.config import FINETUNE_PRESETS
    from gpt2_jax.data.sources import load_dataset
    from gpt2_jax.data.split import split_dataset
    from gpt2_jax.tokenizer import encode

    data = FINETUNE_PRESETS["book"].data
    dataset = load_dataset(data)
    parts = {}
    for part, rows in split_dataset(dataset, data).parts().items():
        tokens = np.full((len(rows), WIDTH), PAD)
        for line, row in zip(tokens, rows, strict=True):
            ids = encode(dataset.texts[row])[:WIDTH]
            line[: len(ids)] = ids
        parts[part] = tokens, np.asarray(dataset.labels)[rows]
    return parts


def chapter_6(name: str, arguments: argparse.Namespace):
    """The loop of chapter 6 on llms_from_scratch's GPTModel, in float32."""
    import torch
    from llms_from_scratch.ch04 import GPTModel

    from gpt2_jax.weights.convert import to_state_dict
    from gpt2_jax.weights.names import LLMS_FROM_SCRATCH
    from gpt2_jax.weights.pretrained import load_pretrained

    def run() -> dict:
        torch.manual_seed(123)
        config, params = load_pretrained(arguments.weights)
        model = GPTModel(
            {
                "vocab_size": config.vocab_size,
                "context_length": config.max_len,
                "emb_dim": config.embed_dim,
                "n_heads": config.num_heads,
                "n_layers": config.num_layers,
                "drop_rate": 0.0,
                "qkv_bias": True,
            }
        )
        state = to_state_dict(params, LLMS_FROM_SCRATCH)
        tensors = {key: torch.from_numpy(value) for key, value in state.items()}
        missing, extra = model.load_state_dict(tensors, strict=False)
        assert not extra, extra
        assert all(key.endswith(".mask") or key == "out_head.weight" for key in missing)
        for parameter in model.parameters():
            parameter.requires_grad = False
        model.out_head = torch.nn.Linear(config.embed_dim, 2)
        for module in (model.trf_blocks[-1], model.final_norm):
            for parameter in module.parameters():
                parameter.requires_grad = True
        return train_in_torch(model, lambda tokens: model(tokens)[:, -1, :])

    return run


def transformers_training(name: str, arguments: argparse.Namespace):
    """The same training of transformers' GPT2ForSequenceClassification."""
    import torch

    def run() -> dict:
        torch.manual_seed(123)
        model = hugging_face_model(arguments.weights)
        for parameter in model.parameters():
            parameter.requires_grad = False
        for module in (model.transformer.h[-1], model.transformer.ln_f, model.score):
            for parameter in module.parameters():
                parameter.requires_grad = True

        def forward(tokens):
            mask = (tokens != PAD).long()
            return model(input_ids=tokens, attention_mask=mask).logits

        return train_in_torch(model, forward)

    return run


def hugging_face_model(weights: str):
    import torch
    import transformers

    from gpt2_jax.weights.convert import to_state_dict
    from gpt2_jax.weights.names import HUGGING_FACE
    from gpt2_jax.weights.pretrained import load_pretrained

    config, params = load_pretrained(weights)
    model = transformers.GPT2ForSequenceClassification(
        transformers.GPT2Config(
            n_embd=config.embed_dim,
            n_layer=config.num_layers,
            n_head=config.num_heads,
            num_labels=2,
            pad_token_id=PAD,
            attn_implementation="eager",
        )
    )
    state = to_state_dict(params, HUGGING_FACE, prefix="transformer.")
    tensors = {key: torch.from_numpy(value) for key, value in state.items()}
    missing, extra = model.load_state_dict(tensors, strict=False)
    assert not extra and set(missing) == {"score.weight"}, (missing, extra)
    return model


def train_in_torch(model, forward) -> dict:
    """Train as chapter 6 does, with its evaluations of a few batches on the way."""
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    parts = {
        part: TensorDataset(torch.from_numpy(tokens), torch.from_numpy(labels))
        for part, (tokens, labels) in book_rows().items()
    }
    train = DataLoader(parts["train"], BATCH, shuffle=True, drop_last=True)
    validation = DataLoader(parts["validation"], BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5, weight_decay=0.1)

    def evaluate(loader, batches=None) -> tuple[float, float]:
        model.eval()
        losses, hits, count = [], 0, 0
        with torch.no_grad():
            for index, (tokens, labels) in enumerate(loader):
                if index == batches:
                    break
                logits = forward(tokens)
                losses.append(torch.nn.functional.cross_entropy(logits, labels).item())
                hits += (logits.argmax(-1) == labels).sum().item()
                count += len(labels)
        model.train()
        return float(np.mean(losses)), hits / count

    step, losses, accuracy = 0, [], []
    for _ in range(EPOCHS):
        model.train()
        for tokens, labels in train:
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(forward(tokens), labels)
            loss.backward()
            optimizer.step()
            if step % EVERY == 0:
                losses.append([evaluate(x, FEW)[0] for x in (train, validation)])
            step += 1
        accuracy = [evaluate(loader, FEW)[1] for loader in (train, validation)]
    return {"steps": step, "few": {"losses": losses[-1], "accuracy": accuracy}}


def pipeline(name: str, arguments: argparse.Namespace):
    """transformers' text-classification pipeline on every message, batches of 64."""
    import transformers

    texts = messages()
    tokenizer = hugging_face_tokenizer()
    model = hugging_face_model(arguments.weights).eval()

    def run() -> dict:
        classify = transformers.pipeline(
            "text-classification", model=model, tokenizer=tokenizer, device="cpu"
        )
        return {"texts": len(classify(texts, batch_size=64, truncation=True))}

    return run


def hugging_face_tokenizer():
    """Return GPT-2's fast tokenizer, its merges worked out from the ranks we ship."""
    import tokenizers
    import transformers

    from gpt2_jax.tokenizer import encoding

    letters = byte_letters()
    ranks = encoding()._mergeable_ranks  # tiktoken has no public way to ask
    vocabulary = {"".join(letters[b] for b in t): rank for t, rank in ranks.items()}
    vocabulary["<|endoftext|>"] = PAD
    merges = []
    for token, rank in sorted(ranks.items(), key=lambda item: item[1]):
        parts = [bytes([byte]) for byte in token]
        while len(parts) > 2:
            pairs = [ranks.get(a + b, rank) for a, b in itertools.pairwise(parts)]
            at = pairs.index(min(pairs))
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
        if len(parts) == 2:
            merges.append(tuple("".join(letters[b] for b in p) for p in parts))
    bpe = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, merges))
    bpe.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token="<|endoftext|>",
        eos_token="<|endoftext|>",
        model_max_length=1024,
        padding_side="right",
    )


def byte_letters() -> dict[int, str]:
    """Return the printable letter that GPT-2's vocab files write for each byte."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in shown]
    letters = {byte: chr(byte) for byte in shown}
    return letters | {byte: chr(256 + index) for index, byte in enumerate(others)}


JOBS = {
    "ours-book": ours,
    "ours-default": ours,
    "ours-predict": ours_predict,
    "chapter-6": chapter_6,
    "transformers": transformers_training,
    "pipeline": pipeline,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=JOBS)
    parser.add_argument("--weights", default="mini")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--cache", action="store_true", help="keep compiled programs")
    arguments = parser.parse_args()
    run = JOBS[arguments.name](arguments.name, arguments)  # imports everything
    started, cpu_started = time.perf_counter(), time.process_time()
    details = run()
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    unit = 1 if sys.platform == "darwin" else 1024
    measured = {
        "seconds": seconds,
        "cpu_seconds": time.process_time() - cpu_started,
        "peak_bytes": peak * unit,
    }
    print(json.dumps({**measured, **details}))


if __name__ == "__main__":
    main()
