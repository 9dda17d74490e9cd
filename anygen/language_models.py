"""Published language models: where they are, their licences, and what their `config.json` says."""

from __future__ import annotations

from typing import Any

SMOLLM2: dict[str, dict[str, Any]] = {
    "SmolLM2-135M-Instruct": {
        "licence": "Apache-2.0",
        "context_length": 8192,
        "template": "smollm2",
        "adapter": {"rank": 8, "alpha": 16, "dropout": 0.0, "target_modules": ("q_proj", "v_proj")},
        "layers": {
            "vocab_size": 49152,
            "hidden_size": 576,
            "intermediate_size": 1536,
            "num_hidden_layers": 30,
            "num_attention_heads": 9,
            "num_key_value_heads": 3,
            "max_position_embeddings": 8192,
            "rms_norm_eps": 1e-5,
            "tie_word_embeddings": True,
        },
    },
}
"""The language model of the middle size: published weights that a CPU can run and tune."""

VICUNA: dict[str, dict[str, Any]] = {
    "Vicuna-7B v1.5": {
        "hub": "lmsys/vicuna-7b-v1.5",
        "licence": "Llama 2 Community License",
        "context_length": 4096,
        "template": "vicuna_v1",
        "layers": {
            "vocab_size": 32000,
            "hidden_size": 4096,
            "intermediate_size": 11008,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "max_position_embeddings": 4096,
            "rms_norm_eps": 1e-5,
            "tie_word_embeddings": False,
        },
    },
    "Vicuna-7B v0": {
        "hub": "",
        "licence": "LLaMA 1 research licence (non-commercial)",
        "context_length": 2048,
        "template": "vicuna_v0",
        "layers": {
            "vocab_size": 32000,
            "hidden_size": 4096,
            "intermediate_size": 11008,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "max_position_embeddings": 2048,
            "rms_norm_eps": 1e-6,
            "tie_word_embeddings": False,
        },
    },
    "Vicuna-13B v1.5": {
        "hub": "lmsys/vicuna-13b-v1.5",
        "licence": "Llama 2 Community License",
        "context_length": 4096,
        "template": "vicuna_v1",
        "layers": {
            "vocab_size": 32000,
            "hidden_size": 5120,
            "intermediate_size": 13824,
            "num_hidden_layers": 40,
            "num_attention_heads": 40,
            "max_position_embeddings": 4096,
            "rms_norm_eps": 1e-5,
            "tie_word_embeddings": False,
        },
    },
}
"""Language models of the full-size stack: where they are, and what their `config.json` says. Version 0 was
published as a difference to LLaMA alone, so there is no repository to name."""

APACHE: dict[str, dict[str, Any]] = {
    "Mistral-7B-Instruct v0.3": {
        "hub": "mistralai/Mistral-7B-Instruct-v0.3",
        "licence": "Apache-2.0",
        "context_length": 8192,
        "template": "vicuna_v1",
        "layers": {
            "model_type": "mistral",
            "vocab_size": 32768,
            "hidden_size": 4096,
            "intermediate_size": 14336,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "max_position_embeddings": 32768,
            "rms_norm_eps": 1e-5,
            "tie_word_embeddings": False,
        },
    },
}
"""Language models for commercial use. The template is ours: its own marks turns by control tokens, which no
text here can become, and the adapter learns the template anyway."""

LANGUAGE_MODELS = SMOLLM2 | VICUNA | APACHE
"""Every language model whose layers are known here, by its `source`."""
