"""The providers that the portal knows by name, with their addresses as their own documents state them."""

from __future__ import annotations

from clawportal.sdk import _m
from clawportal.sdk.providers import ModelList, ModelProvider

_KEY = _m("Needs an API key.")
_OWN = _m("Your own server. Needs its address; a key only where you have set one.")


def _china(address: str) -> str:
    return _m("Needs an API key. This is the address in China; accounts elsewhere use %(address)s instead.", address=address)


FIRST = (
    ModelProvider(
        "openai-compatible", _m("OpenAI-compatible server"),
        _m("Your own server: vLLM, Ollama, LiteLLM and others. Needs its address."),
        base_url_example="http://llm.example.internal/v1", key="optional", key_example="sk-…", group="first", order=20,
    ),
    ModelProvider(
        "openai", "OpenAI", _KEY, base_url="https://api.openai.com/v1", key_name="OPENAI_API_KEY", key_example="sk-…",
        key_url="https://platform.openai.com/api-keys", model_example="gpt-5-mini", group="first", order=30,
    ),
    ModelProvider(
        "anthropic", "Anthropic", _KEY, dialect="anthropic", base_url="https://api.anthropic.com/v1",
        key_name="ANTHROPIC_API_KEY", key_example="sk-ant-…", key_url="https://console.anthropic.com/settings/keys",
        key_header="x-api-key", headers={"anthropic-version": "2023-06-01"}, models=ModelList(title="display_name"),
        model_example="claude-sonnet-4-5", group="first", order=40,
    ),
)  # fmt: skip

CLOUD = (
    ModelProvider(
        "anthropic-compatible", _m("Anthropic-compatible server"),
        _m("A server or service that speaks as Anthropic's messages API. Needs its address."),
        dialect="anthropic", base_url_example="https://llm.example.internal/v1", key="optional", key_header="x-api-key",
        key_example="sk-…", headers={"anthropic-version": "2023-06-01"}, models=ModelList(title="display_name"), order=50,
    ),
    ModelProvider(
        "google", "Google Gemini", _KEY, base_url="https://generativelanguage.googleapis.com/v1beta/openai",
        key_name="GEMINI_API_KEY", key_example="AIza…", key_url="https://aistudio.google.com/apikey",
        models=ModelList(prefix="models/"), model_example="gemini-3.5-flash", order=60,
    ),
    ModelProvider(
        "deepseek", "DeepSeek", _KEY, base_url="https://api.deepseek.com", key_name="DEEPSEEK_API_KEY", key_example="sk-…",
        key_url="https://platform.deepseek.com/api_keys", model_example="deepseek-chat", order=70,
    ),
    ModelProvider(
        "dashscope", _m("Qwen (Alibaba Cloud Model Studio, DashScope)"),
        _china("https://dashscope-intl.aliyuncs.com/compatible-mode/v1"),
        base_url="https://dashscope.aliyuncs.com/compatible-mode/v1", key_name="DASHSCOPE_API_KEY", key_example="sk-…",
        key_url="https://bailian.console.aliyun.com/?tab=model#/api-key", model_example="qwen-plus", order=80,
    ),
    ModelProvider(
        "moonshot", _m("Kimi (Moonshot AI)"), _china("https://api.moonshot.ai/v1"), base_url="https://api.moonshot.cn/v1",
        key_name="MOONSHOT_API_KEY", key_example="sk-…", key_url="https://platform.moonshot.cn/console/api-keys",
        model_example="kimi-k2.5", fixed_sampling=("kimi-k2.[5-9]*", "kimi-k[3-9]*", "kimi-*thinking*"), order=90,
    ),
    ModelProvider(
        "zhipu", _m("GLM (Zhipu AI)"), _china("https://api.z.ai/api/paas/v4"), base_url="https://open.bigmodel.cn/api/paas/v4",
        key_name="ZHIPUAI_API_KEY", key_url="https://bigmodel.cn/usercenter/proj-mgmt/apikeys",
        model_example="glm-4.6", order=100,
    ),
    ModelProvider(
        "minimax", "MiniMax", _china("https://api.minimax.io/v1"), base_url="https://api.minimaxi.com/v1",
        key_name="MINIMAX_API_KEY", key_url="https://platform.minimaxi.com/user-center/basic-information/interface-key",
        model_example="MiniMax-M2.1", order=110,
    ),
    ModelProvider(
        "volcengine", _m("Doubao (Volcengine Ark)"),
        _m("Needs an API key. A model is named by its id or by that of an inference endpoint (ep-…)."),
        base_url="https://ark.cn-beijing.volces.com/api/v3", key_name="ARK_API_KEY",
        key_url="https://console.volcengine.com/ark/region:ark+cn-beijing/apiKey",
        model_example="doubao-seed-1-6-251015", order=120,
    ),
    ModelProvider(
        "siliconflow", _m("SiliconFlow"), _china("https://api.siliconflow.com/v1"), base_url="https://api.siliconflow.cn/v1",
        key_name="SILICONFLOW_API_KEY", key_example="sk-…", key_url="https://cloud.siliconflow.cn/account/ak",
        model_example="deepseek-ai/DeepSeek-V3.1", group="gateway", order=130,
    ),
    ModelProvider(
        "openrouter", "OpenRouter", _m("One key for the models of many providers."), base_url="https://openrouter.ai/api/v1",
        key_name="OPENROUTER_API_KEY", key_example="sk-or-…", key_url="https://openrouter.ai/settings/keys",
        models=ModelList(title="name"), model_example="anthropic/claude-sonnet-4.5", group="gateway", order=140,
    ),
    ModelProvider(
        "groq", "Groq", _KEY, base_url="https://api.groq.com/openai/v1", key_name="GROQ_API_KEY", key_example="gsk_…",
        key_url="https://console.groq.com/keys", model_example="openai/gpt-oss-120b", order=150,
    ),
    ModelProvider(
        "mistral", "Mistral AI", _KEY, base_url="https://api.mistral.ai/v1", key_name="MISTRAL_API_KEY",
        key_url="https://console.mistral.ai/api-keys", models=ModelList(title="name"), model_example="mistral-large-latest",
        order=160,
    ),
    ModelProvider(
        "xai", "xAI", _KEY, base_url="https://api.x.ai/v1", key_name="XAI_API_KEY", key_example="xai-…",
        key_url="https://console.x.ai/", model_example="grok-4-fast-reasoning", order=170,
    ),
    ModelProvider(
        "azure-openai", "Azure OpenAI",
        _m("Needs the address of your resource with /openai/v1 and one of its keys. A model is named by its deployment."),
        base_url_example="https://YOUR-RESOURCE.openai.azure.com/openai/v1", key_name="AZURE_OPENAI_API_KEY",
        key_url="https://portal.azure.com/", key_header="api-key", model_example="gpt-5-mini", order=180,
    ),
    ModelProvider(
        "bedrock", "Amazon Bedrock",
        _m("By its OpenAI-compatible address, which names your region, and a Bedrock API key."),
        base_url_example="https://bedrock-mantle.us-east-1.api.aws/v1", key_name="AWS_BEARER_TOKEN_BEDROCK",
        key_url="https://console.aws.amazon.com/bedrock/home#/api-keys", model_example="openai.gpt-oss-120b", order=190,
    ),
)  # fmt: skip

OWN = (
    ModelProvider(
        "ollama", "Ollama", _OWN, base_url_example="http://ollama.example.internal:11434/v1", key="optional",
        model_example="qwen3:8b", group="own", order=200,
    ),
    ModelProvider(
        "vllm", "vLLM", _OWN, base_url_example="http://vllm.example.internal:8000/v1", key="optional",
        model_example="Qwen/Qwen3-8B", group="own", order=210,
    ),
    ModelProvider(
        "lm-studio", "LM Studio", _OWN, base_url_example="http://studio.example.internal:1234/v1", key="optional",
        model_example="qwen3-8b", group="own", order=220,
    ),
    ModelProvider(
        "litellm", "LiteLLM", _OWN, base_url_example="http://litellm.example.internal:4000/v1", key="optional",
        key_example="sk-…", model_example="gpt-5-mini", group="own", order=230,
    ),
)  # fmt: skip

PROVIDERS = (*FIRST, *CLOUD, *OWN)
