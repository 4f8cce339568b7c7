"""vLLM 0.32 in its own environment (`qpipe.environments.child_server`), on a CPU or a GPU.

One engine in this process, one model. Logits are taken where vLLM itself computes them, and of each
window compared with the log-probabilities of its prompt that vLLM's interface gives.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from vllm import LLM, SamplingParams

# Between a log-probability out of logits and vLLM's own, in nats: both in float32.
_ROUNDING = 1e-3

Answer = tuple[dict[str, Any], bytes]


def serve(params: dict[str, Any], error: Callable[[str, str], Exception]) -> Any:
    """Load the model; a function that answers requests, each named by ``do``.

    Params: ``model`` (a folder), ``dtype``, ``window`` (tokens of a sequence at most),
    ``sequences`` (at once), ``batch`` (tokens of a step), ``kv_bytes``, ``eager``.
    """
    share = {}
    if torch.cuda.is_available():
        # vLLM 0.32 asks for that much of the whole card, though it is told how much it may take.
        free, total = torch.cuda.mem_get_info()
        share = {"gpu_memory_utilization": 0.95 * free / total}
    try:
        llm = LLM(
            model=params["model"],
            dtype=params["dtype"],
            max_model_len=params["window"],
            max_num_seqs=params["sequences"],
            max_num_batched_tokens=params["batch"],
            kv_cache_memory_bytes=params["kv_bytes"],
            enforce_eager=params["eager"],
            max_logprobs=-1,
            skip_tokenizer_init=True,
            enable_prefix_caching=False,
            disable_log_stats=True,
            trust_remote_code=False,
            seed=0,
            **share,
        )
    except (ValueError, NotImplementedError) as refusal:  # pydantic's ValidationError is one
        why = " ".join(str(refusal).split())
        raise error("CheckpointError", f"vLLM cannot load this checkpoint: {why}") from refusal
    except RuntimeError as failure:
        if "Engine core initialization failed" not in str(failure):
            raise
        raise error("CheckpointError", f"vLLM cannot load this checkpoint: {failure}") from failure
    session = _Session(llm, error)
    doing: dict[str, Callable[..., Answer]] = {
        "facts": session.facts,
        "logits": session.logits,
        "score": session.score,
        "write": session.write,
        "time": session.time,
        "memory": session.memory,
    }
    return lambda request: doing[request.pop("do")](**request)


class _Session:
    def __init__(self, llm: Any, error: Callable[[str, str], Exception]) -> None:
        self._llm, self._error = llm, error
        self._taken: list[Any] | None = None
        llm.apply_model(self._listen)

    def _listen(self, model: Any) -> None:
        """Keep what the model's logits are, while somebody wants them."""
        compute = model.compute_logits

        def computed(*args: Any, **kwargs: Any) -> Any:
            logits = compute(*args, **kwargs)
            if self._taken is not None and logits is not None:
                self._taken.append(logits.float().cpu().numpy().copy())
            return logits

        model.compute_logits = computed

    def facts(self) -> Answer:
        """Names of what computes: precision, attention, KV cache, kernels of packed weights."""
        (kernels,) = self._llm.apply_model(_kernels)
        config = self._llm.llm_engine.vllm_config
        return {
            "dtype": str(config.model_config.dtype).removeprefix("torch."),
            "device": config.device_config.device_type,
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
            "kv_cache": config.cache_config.cache_dtype,
            **kernels,
        }, b""

    def logits(self, tokens: list[int], first: int) -> Answer:
        """float32 [positions, vocabulary] of one sequence, from position ``first`` to the last but
        one, whose token is not given to the model. The answer has the shape."""
        given, self._taken = tokens[:-1], []
        try:
            (output,) = self._generate([given], prompt_logprobs=0)
            # vLLM 0.32: first the row that the next token is drawn from, then the prompt's, in
            # pieces; a row of the last position may be among them, or not.
            drawn, *rows = self._taken
        finally:
            self._taken = None
        logits = np.concatenate([*rows, drawn])[: len(given) - 1]
        logits = np.concatenate([logits, drawn])
        self._check(logits[:-1], given, _stated(output)[0])
        part = np.ascontiguousarray(logits[first:])
        return {"shape": list(part.shape)}, part.tobytes()

    def _check(self, logits: Any, tokens: list[int], stated: Any) -> None:
        """Raise AssertionError unless logits are those that vLLM's ``prompt_logprobs`` are of."""
        targets, top = np.array(tokens[1:]), logits.max(axis=1)
        with np.errstate(invalid="ignore"):
            total = np.log(np.exp(logits - top[:, None]).sum(axis=1, dtype=np.float64))
            own = logits[np.arange(len(targets)), targets] - top - total
        difference = np.abs(own - stated)[np.isfinite(stated) & np.isfinite(own)].max(initial=0)
        if len(logits) != len(stated) or difference > _ROUNDING:
            raise AssertionError(
                f"logits of {len(logits)} positions for {len(stated)}, off by {difference:.2g} "
                "nats from vLLM's prompt_logprobs"
            )

    def score(self, prompts: list[list[int]], first: list[int]) -> Answer:
        """Log-probability and rank, as float64, of each prompt's tokens from the ``first`` on."""
        outputs = self._generate(prompts, prompt_logprobs=0)
        parts = []
        for output, at in zip(outputs, first, strict=True):
            logprobs, ranks = _stated(output)
            parts.append(np.stack([logprobs[at - 1 :], ranks[at - 1 :]], axis=1))
        return {}, np.concatenate(parts).astype("<f8").tobytes()

    def write(self, prompts: list[list[int]], most: list[int], ends: list[int]) -> Answer:
        """Greedy continuations, as token ids; the one that ended it left out."""
        settings = [
            SamplingParams(max_tokens=n, temperature=0, detokenize=False, stop_token_ids=ends)
            for n in most
        ]
        outputs = self._llm.generate(_asked(prompts), settings, use_tqdm=False)
        texts = [list(output.outputs[0].token_ids) for output in outputs]
        return {"tokens": [text[:-1] if text and text[-1] in ends else text for text in texts]}, b""

    def time(self, n_prompt: int, n_gen: int, sequences: int) -> Answer:
        """Seconds of reading so many prompts, to the first token of all, and of writing."""
        (vocabulary,) = self._llm.apply_model(_vocabulary)
        tokens = np.random.default_rng(0).integers(0, vocabulary, (sequences, n_prompt)).tolist()
        started = time.perf_counter()
        self._generate(tokens)
        read = time.perf_counter() - started
        started = time.perf_counter()
        self._generate([row[:1] for row in tokens], max_tokens=n_gen, ignore_eos=True)
        return {"read": read, "wrote": time.perf_counter() - started}, b""

    def memory(self) -> Answer:
        """The most memory that was taken, in bytes; None without a GPU."""
        gpu = torch.cuda.is_available()
        vram = torch.cuda.max_memory_allocated() if gpu else None
        return {"rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10, "vram": vram}, b""

    def _generate(self, prompts: list[list[int]], **settings: Any) -> Any:
        settings = {"max_tokens": 1, "temperature": 0.0, **settings}
        sampling = SamplingParams(detokenize=False, flat_logprobs=True, **settings)
        return self._llm.generate(_asked(prompts), sampling, use_tqdm=False)


def _asked(prompts: list[list[int]]) -> list[Any]:
    return [{"prompt_token_ids": tokens} for tokens in prompts]


def _stated(output: Any) -> tuple[Any, Any]:
    """(log-probability, rank) of each token of a prompt but the first."""
    stated = output.prompt_logprobs
    at = np.array(stated.start_indices[1:])
    return np.array(stated.logprobs)[at], np.array(stated.ranks)[at]


def _kernels(model: Any) -> dict[str, Any]:
    """Names of the classes that compute, of vLLM 0.32."""
    attention, kernels = set(), set()
    for module in model.modules():
        if hasattr(module, "attn_backend"):
            attention.add(module.attn_backend.get_name())
        method = getattr(module, "quant_method", None)
        for owner in (method, getattr(module, "scheme", None)):
            for name in ("kernel", "fp8_linear"):
                if (kernel := getattr(owner, name, None)) is not None:
                    kernels.add(type(kernel).__name__)
    return {"attention": sorted(attention), "kernels": sorted(kernels)}


def _vocabulary(model: Any) -> int:
    return int(model.config.get_text_config().vocab_size)
