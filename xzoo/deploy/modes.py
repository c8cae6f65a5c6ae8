"""The ways to run a network, each as a function from a batch to a call that can be timed.

Every mode starts from the same network. It gets a batch in float32, already
normalised, and brings it to its own layout and type before the clock starts. What is not
installed, or not possible on a machine, raises :class:`Unavailable` with the reason.
"""

from __future__ import annotations

import io
import logging
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import numpy as np
import torch
from torch import Tensor, nn

from xzoo.deploy.folding import fold

__all__ = ["MODES", "Job", "Mode", "Unavailable", "onnx_bytes", "quantised_onnx_bytes"]

Call = Callable[[], Tensor]
Prepare = Callable[[Tensor], Call]

CALIBRATION = 32
"""Images in a batch that ranges of int8 are read from."""

PART = 128
"""Images that OpenVINO gets at once, at most: larger batches wait in parts, of which each thread takes the next."""

TRIALS = 4
"""Calls of each of two kernels, the first of them to warm up, before one is taken."""


class Unavailable(Exception):
    """This mode cannot run here; the message says why."""


class Job(NamedTuple):
    """What is to be run.

    Attributes:
        network: In evaluation mode, on its device.
        images: Normalised, ``float32 [N, 3, H, W]`` on the CPU; int8 reads its ranges from them.
        threads: CPU threads to use.
    """

    network: nn.Module
    images: Tensor
    threads: int

    @property
    def device(self) -> torch.device:
        """The device of the network."""
        return next(self.network.parameters()).device


class Mode(NamedTuple):
    """One way to run a network.

    Attributes:
        precision: What is computed in.
        devices: Where it runs.
        least: Smallest cosine to the eager embedding that counts as equal.
        make: From a job to a function that prepares a batch.
    """

    summary: str
    precision: str
    devices: tuple[str, ...]
    least: float
    make: Callable[[Job], Prepare]


# --- torch -----------------------------------------------------------------------------------------------------------


def _torch(network: Any, dtype: torch.dtype = torch.float32, layout: torch.memory_format | None = None) -> Prepare:
    where = next(network.parameters()).device
    moved = network.to(dtype=dtype) if layout is None else network.to(dtype=dtype, memory_format=layout)

    def prepare(images: Tensor) -> Call:
        ready = images.to(where, dtype)
        if layout is not None:
            ready = ready.contiguous(memory_format=layout)

        def call() -> Tensor:
            out: Tensor = moved(ready)
            return out

        return call

    return prepare


def _eager(job: Job) -> Prepare:
    return _torch(job.network)


def _channels_last(job: Job) -> Prepare:
    return _torch(fold(job.network), layout=torch.channels_last)


def _bfloat16(job: Job) -> Prepare:
    return _torch(fold(job.network), torch.bfloat16, torch.channels_last)


def _float16(job: Job) -> Prepare:
    return _torch(fold(job.network), torch.float16, torch.channels_last)


def _compiled(dtype: torch.dtype) -> Callable[[Job], Prepare]:
    def make(job: Job) -> Prepare:
        # A frozen network's weights are constants, which are laid out for its kernels once.
        settings: dict[str, Any] = {"freezing": True} if job.device.type == "cpu" else {"triton.cudagraphs": True}
        compiled = torch.compile(fold(job.network), dynamic=False, options=settings)
        prepare = _torch(compiled, dtype, torch.channels_last)
        try:
            with torch.no_grad():
                prepare(job.images[:1])()
        except Exception as cause:  # the compiler is another program, with faults of many kinds
            raise Unavailable(f"torch.compile: {_first_line(cause)}") from cause
        return prepare

    return make


# --- ONNX Runtime ----------------------------------------------------------------------------------------------------


def _module(name: str, extra: str) -> Any:
    try:
        return import_module(name)
    except ImportError as cause:
        raise Unavailable(f"{name.partition('.')[0]} is not installed: pip install 'xzoo[{extra}]'") from cause


def onnx_bytes(job: Job) -> bytes:
    """Return the folded network as an ONNX file with a free batch size.

    Raises:
        Unavailable: onnx is not installed, or the network cannot be exported.
    """
    _module("onnx", "export")
    network = fold(job.network).cpu().float()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "network.onnx"
        try:
            with warnings.catch_warnings(), torch.no_grad():
                warnings.simplefilter("ignore")
                torch.onnx.export(
                    network,
                    (job.images[:2],),
                    str(file),
                    input_names=["images"],
                    output_names=["embeddings"],
                    dynamic_axes={"images": {0: "batch"}, "embeddings": {0: "batch"}},
                    dynamo=False,  # the other exporter wants a package more
                )
        except Exception as cause:  # an operator without a counterpart, in whatever words
            raise Unavailable(f"ONNX export: {_first_line(cause)}") from cause
        return file.read_bytes()


def quantised_onnx_bytes(job: Job) -> bytes:
    """Return the network as an ONNX file whose layers are int8, ranges read from the job's images.

    Weights per channel, activations ``uint8`` with zero points, static.

    Raises:
        Unavailable: onnx or onnxruntime is not installed, or a layer cannot be quantised.
    """
    plain = onnx_bytes(job)
    _module("onnxruntime", "export")
    tool = _module("onnxruntime.quantization", "export")

    class Images(tool.CalibrationDataReader):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            self.batches: Iterator[Tensor] = iter(job.images.split(CALIBRATION))

        def get_next(self) -> dict[str, Any] | None:
            batch = next(self.batches, None)
            return None if batch is None else {"images": batch.numpy()}

    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "plain.onnx", Path(folder) / "int8.onnx"
        before.write_bytes(plain)
        log = logging.getLogger()
        level = log.level
        log.setLevel(logging.ERROR)  # it recommends passes that change nothing about folded convolutions
        try:
            tool.quantize_static(
                before,
                after,
                Images(),
                quant_format=tool.QuantFormat.QDQ,
                per_channel=True,
                activation_type=tool.QuantType.QUInt8,
                weight_type=tool.QuantType.QInt8,
            )
        except Exception as cause:  # the tool raises whatever its passes do
            raise Unavailable(f"int8: {_first_line(cause)}") from cause
        finally:
            log.setLevel(level)
        return after.read_bytes()


class _Bytes(NamedTuple):
    """A network whose images are ``uint8``: ``scale (x - zero)`` is what the first layer sees."""

    file: bytes
    scale: float
    zero: int

    def images(self, images: Tensor) -> Tensor:
        """Round normalised images as the network did itself; of pixels nothing is left to compute."""
        return ((images / self.scale).round() + self.zero).clamp(0, 255).to(torch.uint8)


def _of_bytes(file: bytes) -> _Bytes | None:
    """Take the rounding of the images out of a network that begins with it, and None of any other."""
    onnx = _module("onnx", "export")
    network = onnx.load_from_string(file)
    graph = network.graph
    first = [node for node in graph.node if "images" in node.input]
    if len(first) != 1 or first[0].op_type != "QuantizeLinear":
        return None
    constants = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}
    scale, zero = (constants[name] for name in first[0].input[1:])
    for node in graph.node:
        for place, name in enumerate(node.input):
            if name == first[0].output[0]:
                node.input[place] = "images"
    graph.node.remove(first[0])
    graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.UINT8
    return _Bytes(network.SerializeToString(), float(scale), int(zero))


def _onnxruntime(source: Callable[[Job], bytes]) -> Callable[[Job], Prepare]:
    def make(job: Job) -> Prepare:
        runtime = _module("onnxruntime", "export")
        settings = runtime.SessionOptions()
        settings.intra_op_num_threads = job.threads
        settings.inter_op_num_threads = 1
        settings.log_severity_level = 3
        session = runtime.InferenceSession(source(job), settings, providers=["CPUExecutionProvider"])

        def prepare(images: Tensor) -> Call:
            given = {"images": images.contiguous().numpy()}
            return lambda: torch.from_numpy(session.run(None, given)[0])

        return prepare

    return make


# --- OpenVINO --------------------------------------------------------------------------------------------------------


def _openvino(precision: str, *, quantised: bool = False) -> Callable[[Job], Prepare]:
    def make(job: Job) -> Prepare:
        openvino = _module("openvino", "openvino")
        core = openvino.Core()
        if precision.upper() not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES") and precision != "f32":
            raise Unavailable(f"this processor has no {precision}")
        own: Callable[[Tensor], Tensor] = Tensor.contiguous
        if quantised:
            file = quantised_onnx_bytes(job)
            taken = _of_bytes(file)
            network = core.read_model(io.BytesIO(file if taken is None else taken.file))
            own = own if taken is None else taken.images
        else:
            try:
                with warnings.catch_warnings(), torch.no_grad():
                    warnings.simplefilter("ignore")
                    network = openvino.convert_model(fold(job.network).cpu().float(), example_input=job.images[:2])
            except Exception as cause:  # an operator without a counterpart, in whatever words
                raise Unavailable(f"OpenVINO: {_first_line(cause)}") from cause
        return _OpenVINO(openvino, core, network, precision, job.threads, own)

    return make


class _OpenVINO:
    """A network for OpenVINO, compiled anew for each size of batch, which makes it faster.

    ``own`` brings normalised images to the type that the network takes.
    """

    def __init__(
        self, openvino: Any, core: Any, network: Any, precision: str, threads: int, own: Callable[[Tensor], Tensor]
    ) -> None:
        self.openvino, self.core = openvino, core
        self.networks = (network, _with_older_kernels(openvino, core, network))
        self.precision, self.threads, self.own = precision, threads, own

    def __call__(self, images: Tensor) -> Call:
        """Compile for the batch, with each of two kernels for convolutions; return the call that is faster here.

        The call's answer lies in the same memory each time.
        """
        calls = [self._compiled(network, images) for network in self.networks]
        times = [[_seconds(call) for call in calls] for _ in range(TRIALS)]
        least = [min(of_one) for of_one in zip(*times[1:], strict=True)]
        return calls[least.index(min(least))]

    def _compiled(self, network: Any, images: Tensor) -> Call:
        """Compile for equal parts of the batch; each thread runs one at a time, alone."""
        count = _parts(len(images), self.threads)
        network = network.clone()
        network.reshape([len(images) // count, *images.shape[1:]])
        compiled = self.core.compile_model(
            network,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": self.precision,
                "INFERENCE_NUM_THREADS": self.threads,
                "NUM_STREAMS": str(min(count, self.threads)),
            },
        )
        found = torch.empty(len(images), *tuple(compiled.output(0).shape)[1:])
        # Kept by the call: OpenVINO works in the memory of these arrays, and does not hold on to them.
        parts = [part.clone().numpy() for part in self.own(images).chunk(count)]
        places = [part.numpy() for part in found.chunk(count)]
        requests = [compiled.create_infer_request() for _ in parts]
        for request, part, place in zip(requests, parts, places, strict=True):
            request.set_input_tensor(self.openvino.Tensor(part, shared_memory=True))
            request.set_output_tensor(self.openvino.Tensor(place, shared_memory=True))

        def call() -> Tensor:
            if count == 1:
                requests[0].infer()
            else:
                for request in requests:
                    request.start_async()
                for request in requests:
                    request.wait()
            assert len(parts) == count  # noqa: S101  (keeps the inputs alive)
            return found

        return call


def _with_older_kernels(openvino: Any, core: Any, network: Any) -> Any:
    """Return a network whose convolutions ask for oneDNN's direct kernels, where OpenVINO prefers those by BRGEMM.

    With few channels and two threads on a core the direct ones can be a third faster. The wish is an attribute that
    OpenVINO reads from files alone; what has no such kernel takes another.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "network.xml"
        openvino.save_model(network, file, compress_to_fp16=False)
        tree = ElementTree.parse(file)
        for layer in tree.iter("layer"):
            if layer.get("type") in ("Convolution", "GroupConvolution"):
                notes = layer.find("rt_info")
                if notes is None:
                    notes = ElementTree.Element("rt_info")
                    layer.insert(0 if layer.find("data") is None else 1, notes)
                wish = {"name": "primitives_priority", "version": "0", "value": "cpu:jit_avx512"}
                ElementTree.SubElement(notes, "attribute", wish)
        weights = openvino.Tensor(np.fromfile(file.with_suffix(".bin"), np.uint8))
        return core.read_model(ElementTree.tostring(tree.getroot()), weights)


def _seconds(call: Call) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _parts(images: int, threads: int) -> int:
    """Return into how many equal parts a batch is cut: one, or a multiple of the threads."""
    if images < 8 * threads or images % threads:
        return 1
    counts = range(threads, images + 1, threads)
    return next((count for count in counts if images % count == 0 and images // count <= PART), threads)


def _first_line(error: BaseException) -> str:
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return text[:160]


CPU, ANY, GPU = ("cpu",), ("cpu", "cuda"), ("cuda",)

MODES: dict[str, Mode] = {
    "eager": Mode("PyTorch as it is", "float32", ANY, 0.999, _eager),
    "channels_last": Mode("PyTorch, norms folded, channels last", "float32", ANY, 0.999, _channels_last),
    "bfloat16": Mode("the same in bfloat16", "bfloat16", ANY, 0.999, _bfloat16),
    "float16": Mode("the same in float16", "float16", GPU, 0.999, _float16),
    "compile": Mode("torch.compile, weights frozen", "float32", ANY, 0.999, _compiled(torch.float32)),
    "compile_bfloat16": Mode("the same in bfloat16", "bfloat16", ANY, 0.999, _compiled(torch.bfloat16)),
    "compile_float16": Mode("torch.compile in float16", "float16", GPU, 0.999, _compiled(torch.float16)),
    "onnxruntime": Mode("ONNX Runtime", "float32", CPU, 0.999, _onnxruntime(onnx_bytes)),
    "onnxruntime_int8": Mode("ONNX Runtime, static int8", "int8", CPU, 0.99, _onnxruntime(quantised_onnx_bytes)),
    "openvino": Mode("OpenVINO", "float32", CPU, 0.999, _openvino("f32")),
    "openvino_bfloat16": Mode("OpenVINO in bfloat16", "bfloat16", CPU, 0.999, _openvino("bf16")),
    "openvino_int8": Mode("OpenVINO, static int8", "int8", CPU, 0.99, _openvino("f32", quantised=True)),
}
"""Every mode by name, the plainest first."""
