"""Groups of tensors that architectures are put together from: name -> shape in names of dimensions.

Names and shapes are those that llama.cpp asks for when it loads a model (src/models/*.cpp and
src/llama-arch.cpp of the commit inside llama-cpp-python 0.3.36), in ggml's order: the length of a row
first. `tensors.dimensions` gives each dimension its value; names of tensors that belong to a block get
"blk.N." in front.
"""

from __future__ import annotations

Block = dict[str, str]

# --- for the whole model
TOKENS: Block = {"token_embd.weight": "embd vocab"}
OUTPUT_NORM: Block = {"output_norm.weight": "embd"}
OUTPUT_NORM_BIAS: Block = {"output_norm.bias": "embd"}
OUTPUT_NORM_LFM2: Block = {
    "token_embd_norm.weight": "embd"
}  # the engine keeps a wrong name for old files' sake
HEAD: Block = {"output.weight": "embd vocab"}
HEAD_BIAS: Block = {"output.bias": "vocab"}
PER_LAYER_EMBEDDING: Block = {
    "per_layer_token_embd.weight": "ple_all vocab",
    "per_layer_model_proj.weight": "embd ple_all",
    "per_layer_proj_norm.weight": "ple",
}
ALTUP: Block = {
    "altup_proj.weight": "embd embd altup_others",
    "altup_unembd_proj.weight": "embd embd altup_others",
}

# --- norms
ATTN_NORM: Block = {"attn_norm.weight": "embd"}
ATTN_NORM_BIAS: Block = {"attn_norm.bias": "embd"}
ATTN_POST_NORM: Block = {"post_attention_norm.weight": "embd"}
FFN_NORM: Block = {"ffn_norm.weight": "embd"}
FFN_NORM_BIAS: Block = {"ffn_norm.bias": "embd"}
FFN_POST_NORM: Block = {"post_ffw_norm.weight": "embd"}
PRE_NORMS = ATTN_NORM | FFN_NORM
POST_NORMS = ATTN_POST_NORM | FFN_POST_NORM
LAYER_NORMS = PRE_NORMS | ATTN_NORM_BIAS | FFN_NORM_BIAS

# Without ".weight" in the engine, and so in files.
FFN_NORM_FALCON_H1: Block = {"ffn_norm": "embd"}
PLAMO_POST_NORMS: Block = {"post_attention_norm": "embd", "post_ffw_norm": "embd"}

# --- attention
QK: Block = {"attn_q.weight": "embd q", "attn_k.weight": "embd k"}
QKV = QK | {"attn_v.weight": "embd v"}
QKV_BIAS: Block = {"attn_q.bias": "q", "attn_k.bias": "k", "attn_v.bias": "v"}
FUSED_QKV: Block = {"attn_qkv.weight": "embd qkv"}
FUSED_QKV_BIAS: Block = {"attn_qkv.bias": "qkv"}
ATTN_OUTPUT: Block = {"attn_output.weight": "o embd"}
ATTN_OUTPUT_BIAS: Block = {"attn_output.bias": "embd"}
ATTENTION = QKV | ATTN_OUTPUT
HEAD_NORMS: Block = {"attn_q_norm.weight": "head", "attn_k_norm.weight": "head"}
WIDE_NORMS: Block = {"attn_q_norm.weight": "q", "attn_k_norm.weight": "k"}
NORM_PER_HEAD: Block = {"attn_q_norm.weight": "head n_head", "attn_k_norm.weight": "head n_head_kv"}
SINKS: Block = {"attn_sinks.weight": "n_head"}
OUTPUT_GATE: Block = {"attn_gate.weight": "embd q"}
HEAD_GATE: Block = {"attn_gate.weight": "embd n_head"}
# The query projection also makes a gate for the output, of the same width.
GATED_ATTENTION: Block = {
    "attn_q.weight": "embd q2",
    "attn_k.weight": "embd k",
    "attn_v.weight": "embd v",
} | ATTN_OUTPUT
LATENT_KV: Block = {"attn_kv_a_mqa.weight": "embd kv_rank_rope", "attn_kv_a_norm.weight": "kv_rank"}
LATENT_Q: Block = {
    "attn_q_a.weight": "embd q_rank",
    "attn_q_a_norm.weight": "q_rank",
    "attn_q_b.weight": "q_rank mla_q",
}
DIRECT_Q: Block = {"attn_q.weight": "embd mla_direct_q"}
LATENT_ATTENTION = LATENT_KV | {
    "attn_k_b.weight": "nope kv_rank n_head",
    "attn_v_b.weight": "kv_rank mla_v n_head",
    "attn_output.weight": "mla_o embd",
}
LATENT_ATTENTION_FUSED = LATENT_KV | {
    "attn_kv_b.weight": "kv_rank mla_kv",
    "attn_output.weight": "mla_o embd",
}

# --- blocks that keep a state
MAMBA2: Block = {
    "ssm_in.weight": "embd ssm_in",
    "ssm_conv1d.weight": "conv conv_width",
    "ssm_conv1d.bias": "conv_width",
    "ssm_dt.bias": "ssm_head",
    "ssm_a": "one ssm_head",
    "ssm_d": "one ssm_head",
    "ssm_out.weight": "inner embd",
}
MAMBA2_NORM: Block = {"ssm_norm.weight": "group_width group"}
DELTANET: Block = {
    "attn_qkv.weight": "embd conv_width",
    "attn_gate.weight": "embd inner",
    "ssm_conv1d.weight": "conv conv_width",
    "ssm_dt.bias": "ssm_head",
    "ssm_a": "ssm_head",
    "ssm_beta.weight": "embd ssm_head",
    "ssm_alpha.weight": "embd ssm_head",
    "ssm_norm.weight": "state",
    "ssm_out.weight": "inner embd",
}
# Kimi delta attention, as Ling 3 has it; its projections are those of attention.
KDA: Block = {
    "attn_q.weight": "embd inner",
    "attn_k.weight": "embd inner",
    "attn_v.weight": "embd inner",
    "attn_output.weight": "inner embd",
    "ssm_conv1d_q.weight": "conv one inner one",
    "ssm_conv1d_k.weight": "conv one inner one",
    "ssm_conv1d_v.weight": "conv one inner one",
    "ssm_f_a.weight": "embd inner",
    "ssm_g_a.weight": "embd inner",
    "ssm_beta.weight": "embd ssm_head",
    "ssm_a": "one ssm_head",
    "ssm_dt.bias": "inner",
    "ssm_norm.weight": "state",
}
SHORTCONV: Block = {
    "shortconv.conv.weight": "conv embd",
    "shortconv.in_proj.weight": "embd embd3",
    "shortconv.out_proj.weight": "embd embd",
}
# Mamba with projected time steps and norms, as PLaMo 2 has it.
MAMBA_PLAMO: Block = {
    "ssm_in.weight": "embd inner2",
    "ssm_conv1d.weight": "conv inner",
    "ssm_x.weight": "inner dt_bc",
    "ssm_dt.weight": "dt ssm_head",
    "ssm_dt.bias": "ssm_head",
    "ssm_a": "ssm_head",
    "ssm_d": "ssm_head",
    "ssm_out.weight": "inner embd",
    "ssm_dt_norm": "dt",
    "ssm_b_norm": "state",
    "ssm_c_norm": "state",
}

# --- feed-forward networks
GATED_FFN: Block = {
    "ffn_gate.weight": "embd ff",
    "ffn_up.weight": "embd ff",
    "ffn_down.weight": "ff embd",
}
GATED_FFN_BIAS: Block = {"ffn_gate.bias": "ff", "ffn_up.bias": "ff", "ffn_down.bias": "embd"}
FUSED_FFN: Block = {"ffn_up.weight": "embd ff2", "ffn_down.weight": "ff embd"}  # gate and up in one
PLAIN_FFN: Block = {"ffn_up.weight": "embd ff", "ffn_down.weight": "ff embd"}  # no gate
PLAIN_FFN_BIAS: Block = {"ffn_up.bias": "ff", "ffn_down.bias": "embd"}

# --- experts
ROUTER: Block = {"ffn_gate_inp.weight": "embd expert"}
EXPERTS: Block = {
    "ffn_gate_exps.weight": "embd ff_exp expert",
    "ffn_up_exps.weight": "embd ff_exp expert",
    "ffn_down_exps.weight": "ff_exp embd expert",
}
FUSED_EXPERTS: Block = {
    "ffn_gate_up_exps.weight": "embd ff_exp2 expert",
    "ffn_down_exps.weight": "ff_exp embd expert",
}
UNGATED_EXPERTS: Block = {
    "ffn_up_exps.weight": "embd ff_exp expert",
    "ffn_down_exps.weight": "ff_exp embd expert",
}
EXPERTS_BIAS: Block = {
    "ffn_gate_inp.bias": "expert",
    "ffn_gate_exps.bias": "ff_exp expert",
    "ffn_up_exps.bias": "ff_exp expert",
    "ffn_down_exps.bias": "embd expert",
}
SHARED_EXPERT: Block = {
    "ffn_gate_shexp.weight": "embd ff_shared",
    "ffn_up_shexp.weight": "embd ff_shared",
    "ffn_down_shexp.weight": "ff_shared embd",
}
UNGATED_SHARED_EXPERT: Block = {
    "ffn_up_shexp.weight": "embd ff_shared",
    "ffn_down_shexp.weight": "ff_shared embd",
}
SHARED_EXPERT_GATE: Block = {"ffn_gate_inp_shexp.weight": "embd"}
BALANCE_BIAS: Block = {"exp_probs_b.bias": "expert"}
MIXTURE = ROUTER | EXPERTS
MIXTURE_SHARED = MIXTURE | SHARED_EXPERT

# --- what only Gemma 3n and Gemma 4 have in a block
PER_LAYER_INPUT: Block = {
    "inp_gate.weight": "embd ple",
    "proj.weight": "ple embd",
    "post_norm.weight": "ple_embd",
}
ALTUP_LAUREL: Block = {
    "altup_correct_coef.weight": "altup altup",
    "altup_correct_scale.weight": "embd",
    "altup_predict_coef.weight": "altup altup_squared",
    "altup_router.weight": "embd altup",
    "altup_router_norm.weight": "embd",
    "laurel_l.weight": "embd laurel",
    "laurel_r.weight": "laurel embd",
    "laurel_post_norm.weight": "embd",
}
LAYER_SCALE: Block = {"layer_output_scale.weight": "one"}
GEMMA4_EXPERTS = (
    ROUTER
    | FUSED_EXPERTS
    | {
        "ffn_gate_inp.scale": "embd",
        "ffn_down_exps.scale": "expert",
        "pre_ffw_norm_2.weight": "embd",
        "post_ffw_norm_1.weight": "embd",
        "post_ffw_norm_2.weight": "embd",
    }
)

# --- the block for multi-token prediction, beside its attention and feed-forward network
NEXTN: Block = {
    "nextn.eh_proj.weight": "embd2 embd",
    "nextn.enorm.weight": "embd",
    "nextn.hnorm.weight": "embd",
    "nextn.shared_head_norm.weight": "embd",
}

# Not trained, and left out of published parameter counts: rotary frequencies that the converter computes,
# what balances the load of experts in training, and a scale that only some publish as a parameter.
BUFFERS = frozenset(
    {
        "rope_freqs.weight",
        "rope_factors_long.weight",
        "rope_factors_short.weight",
        "exp_probs_b.bias",
        "layer_output_scale.weight",
    }
)
