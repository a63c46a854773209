"""What is said of models: of their scores, and why llama.cpp does not run one."""

from __future__ import annotations

from advisor.language import marked

SENTENCES = (
    marked("no published score of this model is known"),
    marked("no {axis} score: read off the general one"),
    marked("scores are those of {model}"),
    marked("only vendor-reported scores"),
    marked("its languages are not known"),
    marked("not made for {languages}: {share} of the quality is counted"),
    marked("its tensors are not known"),
    marked("{model} has no variant {quant}{why}"),
    marked("'{text}' could be any of {count} models; name one"),
    marked(
        "no model '{text}' in the catalog; 'slm-advisor catalog list' shows all, 'slm-advisor catalog "
        "add' adds a local one"
    ),
    marked(
        "the catalog's index {path} cannot be read ({error}); reinstall slm-advisor, or run 'make "
        "catalog' in a checkout"
    ),
    marked("the engine on this device refuses it"),
    marked(
        "llama.cpp refuses Llama 4 models without experts ('model cannot have zero experts'), and no "
        "other of its architectures normalizes queries and keys this way"
    ),
    marked("llama.cpp has no K2 Horizon architecture; a fork of its makers runs it"),
    marked("llama.cpp has no Apertus 1.5 architecture"),
    marked(
        "llama.cpp runs it with the wrong activation (SiLU instead of squared ReLU) and so with the "
        "wrong answers: a perplexity of 99.8 instead of 17.1"
    ),
    marked("llama.cpp runs it, but the catalog does not describe its nested loops over two stacks of blocks"),
    marked("llama.cpp has no OLMo hybrid architecture"),
    marked(
        "llama.cpp expects of Phi MoE models that heads x head size is the hidden size; here it is half of it"
    ),
    marked("llama.cpp has no SambaY architecture (Phi-4-mini-flash)"),
    marked("its dimensions are not known: its configuration is behind a licence"),
    marked("general"),
    marked("coding"),
    marked("math"),
    marked("tools"),
    marked("japanese"),
    marked("multilingual"),
    marked("long_context"),
    marked("instructions"),
    marked("vendor"),
    marked("Falcon-H1 table (run by its maker)"),
    marked("MobileLLM table (run by its maker)"),
    marked("MobileLLM-R1 table (run by its maker)"),
    marked("MobileLLM-R1 table (run by its maker), base"),
    marked("Phi-3.5 table (run by its maker)"),
    marked("SmallThinker table (run by its maker)"),
)
